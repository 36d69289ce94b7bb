// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is a cgroup hierarchy (version 1) that this process is in.
type hierarchy struct {
	// options are those it is mounted with: its controllers, or its name.
	options string
	// dir is the cgroup of this process in it, as the file system shows it.
	dir string
}

// hierarchies reads where this process is: /proc/self/cgroup has the controllers and the path in each
// hierarchy, /proc/self/mountinfo where that is mounted (cgroups(7), proc(5)).
func hierarchies(cgroup, mountinfo string) []hierarchy {
	var found []hierarchy
	for _, line := range strings.Split(cgroup, "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 || fields[1] == "" {
			continue // Version 2 has no controllers in this place.
		}
		if point, root, mounted := mountOf(mountinfo, fields[1]); mounted {
			inside := strings.TrimPrefix(fields[2], strings.TrimSuffix(root, "/"))
			found = append(found, hierarchy{options: fields[1], dir: filepath.Join(point, inside)})
		}
	}
	return found
}

// mountOf finds the mount of a hierarchy, and what of it is mounted there.
func mountOf(mountinfo, options string) (point, root string, mounted bool) {
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 || kind[0] != "cgroup" {
			continue
		}
		have := strings.Split(kind[2], ",")
		if !slices.ContainsFunc(strings.Split(options, ","), func(option string) bool { return !slices.Contains(have, option) }) {
			return fields[4], fields[3], true
		}
	}
	return "", "", false
}

func ownHierarchies() ([]hierarchy, error) {
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	return hierarchies(string(cgroup), string(mountinfo)), err
}

// cgroupName is that of the cgroups of one control plane.
func cgroupName(dir string) string {
	h := fnv.New64a()
	h.Write([]byte(dir))
	return fmt.Sprintf("sluice-%x", h.Sum64())
}

// joinCgroups makes a cgroup in each hierarchy, moves this process into it, and records them before that: so
// that they are found and removed whatever happens next.
func (s Sandbox) joinCgroups() ([]hierarchy, error) {
	all, err := ownHierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for i := range all {
		parent := all[i].dir
		all[i].dir = filepath.Join(parent, cgroupName(s.Dir))
		dirs = append(dirs, all[i].dir)
		if err := makeCgroup(parent, all[i]); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(cgroupsFile(s.Dir), []byte(strings.Join(dirs, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	for _, h := range all {
		if err := join(h.dir); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// makeCgroup makes one. A new cgroup of the controller cpuset has no processors and no memory at first.
func makeCgroup(parent string, h hierarchy) error {
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	if !slices.Contains(strings.Split(h.options, ","), "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		content, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(h.dir, file), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// join moves this process into a cgroup; 0 stands for whoever writes.
func join(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644)
}

// recordedCgroups are the cgroups of a sandbox in this folder; none if there never was one.
func recordedCgroups(dir string) ([]string, error) {
	file, err := os.Open(cgroupsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var dirs []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// What is not named as only we name it is not ours to remove, whatever the file says.
		if filepath.Base(lines.Text()) == cgroupName(dir) {
			dirs = append(dirs, lines.Text())
		}
	}
	return dirs, lines.Err()
}

// RemoveCgroups ends what is left of a sandbox whose first process is gone: processes that are still dying or that
// were about to enter it, and their cgroups. It does nothing if there is nothing left.
func RemoveCgroups(dir string, patience time.Duration) error {
	dirs, err := recordedCgroups(dir)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for _, cgroup := range dirs {
		for {
			err := errors.Join(killTree(cgroup), removeTree(cgroup))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("cannot remove the cgroup %s: %w", cgroup, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	return os.Remove(cgroupsFile(dir))
}

// killTree kills the members of a cgroup and of those below it, but for this process, should it be one.
func killTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() || entry.Name() != "cgroup.procs" {
			return err
		}
		members, err := os.ReadFile(path)
		if err != nil {
			// A cgroup may be gone since.
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			return err
		}
		for _, member := range strings.Fields(string(members)) {
			pid, err := strconv.Atoi(member)
			// 0 stands for a process that has no number here; to kill that would be to kill ourselves.
			if err != nil || pid <= 0 || pid == os.Getpid() {
				continue
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		return nil
	})
}

// removeTree removes a cgroup and those below it. Its files go with it, and cannot be removed by themselves.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
