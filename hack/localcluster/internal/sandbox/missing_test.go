// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// able is a machine that lacks nothing.
func able() machine {
	return machine{
		os: "linux", uid: 0, compiler: "gcc",
		capable:     func() bool { return true },
		filesystems: func() string { return "nodev\toverlay\n\text4\n" },
		controllers: func() ([]string, error) { return append(slices.Clone(needed), "name=systemd"), nil },
		find:        func(string) error { return nil },
		preprocess:  func(string, string) error { return nil },
	}
}

// without is a lookup that finds all but these.
func without(names ...string) func(string) error {
	return func(name string) error {
		if slices.Contains(names, name) {
			return errors.New("not found")
		}
		return nil
	}
}

func TestMissing(t *testing.T) {
	for _, row := range []struct {
		rule  string
		lacks func(*machine)
		built bool
		// want are the beginnings of what is said to be missing.
		want []string
	}{
		{rule: "nothing", lacks: func(*machine) {}},
		{"on another system only that counts, whoever asks", func(m *machine) { m.os, m.uid, m.find = "darwin", 501, without("nft", "gcc") }, false, []string{"Linux"}},
		{"for anybody but root only that counts", func(m *machine) { m.uid, m.find = 1000, without("nft", "gcc") }, false, []string{"root"}},
		{"capabilities", func(m *machine) { m.capable = func() bool { return false } }, true, []string{"the capabilities"}},
		{"a file system", func(m *machine) { m.filesystems = func() string { return "\text4\n" } }, true, []string{"the file system overlay"}},
		{rule: "a kernel that does not say which file systems it has may have it", lacks: func(m *machine) { m.filesystems = func() string { return "" } }},
		{"version 2 only", func(m *machine) { m.controllers = func() ([]string, error) { return []string{"name=systemd"}, nil } }, true,
			[]string{"cgroup hierarchies of version 1 with the controllers cpu, cpuacct, cpuset, memory, devices, freezer, pids"}},
		{"one controller", func(m *machine) {
			m.controllers = func() ([]string, error) {
				return []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer"}, nil
			}
		}, true, []string{"cgroup hierarchies of version 1 with the controllers pids"}},
		{"cgroups that cannot be read", func(m *machine) { m.controllers = func() ([]string, error) { return nil, errors.New("no /proc") } }, true, []string{"the cgroups of this process: no /proc"}},
		{"nft", func(m *machine) { m.find = without("nft") }, true, []string{"nft"}},
		{"a compiler", func(m *machine) { m.find = without("gcc") }, false, []string{"gcc, a C compiler"}},
		{"the compiler that the go command is told to use", func(m *machine) { m.compiler, m.find = "clang -m64", without("clang") }, false, []string{"clang -m64, a C compiler"}},
		{"headers", func(m *machine) { m.preprocess = func(string, string) error { return errors.New("not found") } }, false, []string{"the headers of libseccomp"}},
		{"what finds the library", func(m *machine) { m.find = without("pkg-config") }, false, []string{"pkg-config"}},
		{rule: "what runc is built by is not needed once it is", built: true, lacks: func(m *machine) {
			m.find, m.preprocess = without("gcc", "pkg-config"), func(string, string) error { return errors.New("not found") }
		}},
		{"several things", func(m *machine) { m.find = without("nft", "pkg-config") }, false, []string{"nft", "pkg-config"}},
	} {
		m := able()
		row.lacks(&m)
		got := m.missing(row.built)
		if !slices.EqualFunc(got, row.want, strings.HasPrefix) {
			t.Errorf("%s: what is missing is %q, want %q", row.rule, got, row.want)
		}
	}
}

func TestPreprocess(t *testing.T) {
	m := thisMachine()
	if m.find(strings.Fields(m.compiler)[0]) != nil {
		t.Skipf("there is no %s here", m.compiler)
	}
	if err := m.preprocess(m.compiler, "#include <stddef.h>"); err != nil {
		t.Errorf("a header that every compiler has is not found: %v", err)
	}
	if err := m.preprocess(m.compiler, "#include <there-is-no-such-header.h>"); err == nil {
		t.Error("a header that nobody has is found")
	}
}
