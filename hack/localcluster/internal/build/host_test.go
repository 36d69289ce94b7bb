// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a host says of itself is what its module pins, and the programs of one version do not take the place of another's.
func TestEveryHostIsOfTheVersionThatItSays(t *testing.T) {
	repository, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{}
	for _, r := range kubernetes {
		binaries, err := Host(r.minor)
		if err != nil {
			t.Fatal(err)
		}
		host := binaries[0]
		for _, b := range binaries {
			if filepath.Dir(b.Name) == filepath.Join(".", HostDir(r.minor)) && filepath.Base(b.Name) == "kube" {
				host = b
			}
		}
		if other := folders[filepath.Dir(host.Name)]; other != "" {
			t.Errorf("%s and %s are built into the same folder", r.minor, other)
		}
		folders[filepath.Dir(host.Name)] = r.minor
		module, err := os.ReadFile(filepath.Join(repository, host.Module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(r.version, "v"+r.minor+".") || !strings.Contains(string(module), "\tk8s.io/kubernetes "+r.version+"\n") {
			t.Errorf("the host %s calls itself %s, which %s/go.mod does not pin", r.minor, r.version, host.Module)
		}
		major, minor, _ := strings.Cut(r.minor, ".")
		for _, want := range []string{"version.gitVersion=" + r.version, "version.gitMajor=" + major + " ", "version.gitMinor=" + minor + " "} {
			if !strings.Contains(host.Flags, want) {
				t.Errorf("the flags of the host %s lack %q: %s", r.minor, want, host.Flags)
			}
		}
	}
	if _, err := Host("1.33"); err == nil || !strings.Contains(err.Error(), "1.34 and 1.37") {
		t.Errorf("a version that there is not: %v; want those that there are", err)
	}
}

func TestLinksOfAnOlderHostAreInItsFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, HostDir("1.34")), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, minor := range HostVersions() {
		binaries, err := Host(minor)
		if err != nil {
			t.Fatal(err)
		}
		for _, binary := range binaries {
			if err := link(dir, binary); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path, want := range map[string]string{"kubectl": "kube", "etcd": "kube", "hosts/1.34/kubectl": "kube", "hosts/1.34/kube-apiserver": "kube"} {
		if target, err := os.Readlink(filepath.Join(dir, path)); err != nil || target != want {
			t.Errorf("%s leads to %q, %v; want %q", path, target, err, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "hosts/1.34/etcd")); err == nil {
		t.Error("etcd is linked to a program that is none")
	}
}
