// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHierarchies(t *testing.T) {
	const mountinfo = `30 23 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
31 23 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 23 0:28 /docker/1 /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 23 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 23 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw`
	for _, row := range []struct {
		rule, cgroup string
		want         []hierarchy
	}{
		{"controllers that are mounted together", "3:cpu,cpuacct:/a", []hierarchy{{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a"}}},
		{"the root of a hierarchy", "4:memory:/", []hierarchy{{"memory", "/sys/fs/cgroup/memory"}}},
		{"a part of one that is mounted", "5:pids:/docker/1/b", []hierarchy{{"pids", "/sys/fs/cgroup/pids/b"}}},
		{"one without controllers, by its name", "6:name=systemd:/user", []hierarchy{{"name=systemd", "/sys/fs/cgroup/systemd/user"}}},
		{"version 2", "0::/a", nil},
		{"one that is not mounted", "7:blkio:/", nil},
	} {
		if got := hierarchies(row.cgroup+"\n", mountinfo); !slices.Equal(got, row.want) {
			t.Errorf("%s: %+v, want %+v", row.rule, got, row.want)
		}
	}
}

// A member of a cgroup, of one below it too, is killed, and nobody else is.
func TestKillTree(t *testing.T) {
	dir := t.TempDir()
	start := func() *exec.Cmd {
		cmd := exec.Command("sleep", "1h")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd
	}
	member, below, other := start(), start(), start()
	for folder, pids := range map[string][]int{"": {0, os.Getpid(), member.Process.Pid}, "pod": {below.Process.Pid}} {
		path := filepath.Join(dir, folder)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		text := strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", "\n"), "[]")
		if err := os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What is in a file that is no list of members is not touched.
	if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(other.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := killTree(dir); err != nil {
		t.Fatal(err)
	}
	for _, killed := range []*exec.Cmd{member, below} {
		if err := killed.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("a member ended with %v", err)
		}
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	if err := killTree(filepath.Join(dir, "never-was")); err != nil {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

func TestRemoveCgroupsTouchesOnlyItsOwn(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	if err := RemoveCgroups(dir, time.Second); err != nil {
		t.Errorf("where nothing ever was: %v", err)
	}
	ours, others := filepath.Join(root, cgroupName(dir)), filepath.Join(root, cgroupName(root))
	for _, folder := range []string{filepath.Join(ours, "kubepods", "pod"), others, filepath.Join(dir, "run")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(cgroupsFile(dir), []byte(ours+"\n"+others+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RemoveCgroups(dir, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ours); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(others); err != nil {
		t.Errorf("that of somebody else is gone: %v", err)
	}
	if left, err := recordedCgroups(dir); err != nil || left != nil {
		t.Errorf("still recorded: %q, %v", left, err)
	}
}
