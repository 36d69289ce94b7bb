// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls are values that the kubelet sets for the whole machine. It is shown files that hold them already, so
// that the machine stays as it is.
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mounts makes the file system of the node: that of the machine, with what programs of a node write outside
// of their own folders covered.
func (s Sandbox) mounts() error {
	kept, err := s.keep()
	if err != nil {
		return err
	}
	defer kept.close()
	// Nothing reaches the machine; but the kubelet wants its own mounts to be seen by containers.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := s.mountCgroups(); err != nil {
		return err
	}
	for _, covered := range []string{"/run", "/var/log"} {
		if err := mount("tmpfs", covered, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	for _, folder := range []string{"/run/lock", "/run/netns", "/run/sandbox/upper", "/run/sandbox/work", "/var/log/containers"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	// CNI keeps its cache below /var/lib, whatever it is told.
	if err := mount("overlay", "/var/lib", "overlay", 0, "lowerdir=/var/lib,upperdir=/run/sandbox/upper,workdir=/run/sandbox/work"); err != nil {
		return err
	}
	if err := kept.restore(); err != nil {
		return err
	}
	return errors.Join(standIns(), resolver(), unix.Sethostname([]byte(s.HostName)))
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", kind, target, err)
	}
	return nil
}

// mountCgroups mounts the hierarchies afresh: in the cgroup namespace of the sandbox they begin at its own
// cgroups, so that nothing above these can be seen or touched.
func (s Sandbox) mountCgroups() error {
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting /sys: %w", err)
	}
	if err := mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, line := range strings.Split(string(cgroup), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 || fields[1] == "" {
			continue
		}
		name, named := strings.CutPrefix(fields[1], "name=")
		options := fields[1]
		if named {
			options = "none," + options
		}
		point := filepath.Join("/sys/fs/cgroup", name)
		if err := os.MkdirAll(point, 0o755); err != nil {
			return err
		}
		if err := mount("cgroup", point, "cgroup", 0, options); err != nil {
			return err
		}
	}
	return nil
}

// standIns covers the values that the kubelet would set for the whole machine.
func standIns() error {
	for name, value := range sysctls {
		file := filepath.Join("/run/sandbox", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// resolver has every name outside the cluster fail at once, rather than after a while: an image that is not
// there is then known to be missing.
func resolver() error {
	const file, target = "/run/sandbox/resolv.conf", "/etc/resolv.conf"
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(target); err != nil {
		// A link into what is covered now.
		place, err := os.Readlink(target)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(place) {
			place = filepath.Join("/etc", place)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(place), 0o755), os.WriteFile(place, nil, 0o644)); err != nil {
			return err
		}
	}
	return mount(file, target, "", unix.MS_BIND, "")
}

// kept are folders that must stay visible.
type kept map[string]*os.File

// keep holds on to the folders before anything is covered.
func (s Sandbox) keep() (kept, error) {
	held := kept{}
	for _, folder := range append([]string{s.Dir}, s.Visible...) {
		file, err := os.Open(folder)
		if err != nil {
			held.close()
			return nil, err
		}
		held[folder] = file
	}
	return held, nil
}

// restore mounts those again that are covered.
func (k kept) restore() error {
	for folder, file := range k {
		was, err := file.Stat()
		if err != nil {
			return err
		}
		if is, err := os.Stat(folder); err == nil && os.SameFile(was, is) {
			continue
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := mount(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), folder, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return nil
}

func (k kept) close() {
	for _, file := range k {
		file.Close()
	}
}
