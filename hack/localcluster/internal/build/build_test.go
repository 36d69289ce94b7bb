// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWatch(t *testing.T) {
	for _, row := range []struct {
		name, output string
		details      []string
		complaints   []string
	}{
		{"nothing to do", "", nil, nil},
		{"downloads and packages are progress",
			"go: downloading k8s.io/api v0.37.2\nk8s.io/api/core/v1\nunicode/utf8\n",
			[]string{"downloading k8s.io/api v0.37.2", "1 packages, k8s.io/api/core/v1", "2 packages, unicode/utf8"}, nil},
		{"a compiler's errors are kept whole",
			"a.dev/b/c\n# a.dev/b/c\nc.go:3:1: undefined: x\nnote\n",
			[]string{"1 packages, a.dev/b/c"}, []string{"# a.dev/b/c", "c.go:3:1: undefined: x", "note"}},
		{"so are those of the go command", "go: updates to go.mod needed\n", nil, []string{"go: updates to go.mod needed"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var details []string
			complaints := watch(strings.NewReader(row.output), func(detail string) { details = append(details, detail) })
			if !slices.Equal(details, row.details) {
				t.Errorf("progress is %q; want %q", details, row.details)
			}
			if !slices.Equal(complaints, row.complaints) {
				t.Errorf("errors are %q; want %q", complaints, row.complaints)
			}
		})
	}
}

func TestLinkReplacesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := Binary{Name: "kube", Calls: []string{"etcd", "kubectl"}}
	for range 2 {
		if err := link(dir, binary); err != nil {
			t.Fatal(err)
		}
	}
	for _, call := range binary.Calls {
		if target, err := os.Readlink(filepath.Join(dir, call)); err != nil || target != "kube" {
			t.Errorf("%s leads to %q, %v", call, target, err)
		}
	}
}

func TestKubectlFindsTheCompletionOfThePlugin(t *testing.T) {
	dir := t.TempDir()
	for _, binary := range Sluice(t.Context(), dir) {
		if err := link(dir, binary); err != nil {
			t.Fatal(err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "kubectl_complete-sluice")); err != nil || target != "kubectl-sluice" {
		t.Errorf("kubectl_complete-sluice leads to %q, %v", target, err)
	}
}

func TestVersionWithoutARepository(t *testing.T) {
	if got := Version(t.Context(), t.TempDir()); got != developmentVersion {
		t.Errorf("version is %q; want %q", got, developmentVersion)
	}
}
