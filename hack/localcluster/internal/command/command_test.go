// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice.dev/sluice/hack/localcluster/internal/component"
)

func TestFindRepository(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "hack", "localcluster")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		filepath.Join(root, "go.mod"):  modulePath + "\ngo 1.26\n",
		filepath.Join(below, "go.mod"): "module sluice.dev/sluice/hack/localcluster\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name, from string
		found      bool
	}{
		{"at its root", root, true},
		{"from a module inside it", below, true},
		{"from outside", filepath.Dir(root), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := findRepository(row.from)
			if (err == nil) != row.found || row.found && got != root {
				t.Errorf("found %q, %v", got, err)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		err  string
	}{
		{"arguments of the component come after --", []string{"start", "etcd", "extra"}, "come after --"},
		{"one component at a time", []string{"restart"}, "name one component"},
		{"unknown signal", []string{"stop", "etcd", "--signal", "HUP"}, "--signal=HUP"},
		{"unknown kind of etcd", []string{"up", "--sluice-etcd", "shared"}, "--sluice-etcd=shared"},
		{"unknown output", []string{"status", "-o", "yaml"}, "--output=yaml"},
		{"nothing was started there", []string{"start", "etcd", "--", "--x"}, "no control plane was ever started"},
		{"nothing runs there", []string{"status"}, "nothing runs"},
	} {
		t.Run(row.name, func(t *testing.T) {
			cmd := New()
			cmd.SetArgs(append(row.args[:1:1], append([]string{"--repository", t.TempDir(), "--dir", t.TempDir()}, row.args[1:]...)...))
			cmd.SetOut(new(strings.Builder))
			cmd.SetErr(new(strings.Builder))
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("error is %v; want one about %q", err, row.err)
			}
		})
	}
}

func TestDownOfNothingIsNoError(t *testing.T) {
	cmd := New()
	cmd.SetArgs([]string{"down", "--repository", t.TempDir(), "--dir", t.TempDir()})
	cmd.SetErr(new(strings.Builder))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]syscall.Signal{"KILL": syscall.SIGKILL, "sigterm": syscall.SIGTERM, "int": syscall.SIGINT} {
		if got, err := parseSignal(name); err != nil || got != want {
			t.Errorf("signal %s is %v, %v", name, got, err)
		}
	}
	for _, row := range []struct {
		without, real bool
		etcd          string
		want          component.SluiceMode
	}{
		{true, false, "embedded", component.NoSluice},
		{true, true, "embedded", component.NoSluice},
		{false, false, "embedded", component.EmbeddedEtcd},
		{false, false, "external", component.ExternalEtcd},
		{false, true, "embedded", component.InCluster},
	} {
		if got, err := sluiceMode(row.without, row.real, row.etcd, false); err != nil || got != row.want {
			t.Errorf("mode is %s, %v; want %s", got, err, row.want)
		}
	}
	if _, err := sluiceMode(false, true, "embedded", true); err == nil {
		t.Error("a server outside of the cluster is chosen together with a real node, and nobody says that it is none")
	}
}

func TestArchitectures(t *testing.T) {
	for _, row := range []struct {
		platforms []string
		want      []string
		refused   string
	}{
		{[]string{"linux/amd64", "linux/arm64"}, []string{"amd64", "arm64"}, ""},
		{[]string{"linux/arm64"}, []string{"arm64"}, ""},
		{[]string{"linux/amd64", "windows/amd64"}, nil, `"windows/amd64" is not known; linux/amd64 and linux/arm64 are`},
		{[]string{"linux/riscv64"}, nil, "is not known"},
		{nil, nil, "must name one at least"},
	} {
		got, err := architectures(row.platforms)
		if !slices.Equal(got, row.want) {
			t.Errorf("%q are %q; want %q", row.platforms, got, row.want)
		}
		if row.refused == "" && err != nil || row.refused != "" && (err == nil || !strings.Contains(err.Error(), row.refused)) {
			t.Errorf("%q are refused with %v; want %q", row.platforms, err, row.refused)
		}
	}
}
