// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are those of a sandbox, in the order in which they are entered: the mounts come last, since the
// others are found in the /proc outside.
var namespaces = []struct {
	name string
	flag int
}{
	{"cgroup", unix.CLONE_NEWCGROUP},
	{"ipc", unix.CLONE_NEWIPC},
	{"uts", unix.CLONE_NEWUTS},
	{"net", unix.CLONE_NEWNET},
	{"pid", unix.CLONE_NEWPID},
	{"mnt", unix.CLONE_NEWNS},
}

// Enter runs a program in the sandbox whose first process has this id, and returns how it ended. The program gets
// the signals that this process gets, and does not outlive it: so for whoever looks after this process, it is
// the program.
func Enter(dir string, pid int, path string, args []string) (code int, err error) {
	// Namespaces belong to threads, and so does the death that the program is told of.
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := enter(dir, pid); err != nil {
		return 0, fmt.Errorf("entering the sandbox of process %d: %w", pid, err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	cmd := exec.Command(self, append([]string{"become", path}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		if status, ok := exited.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exited.ExitCode(), nil
	}
	return 0, err
}

// enter takes this thread into the namespaces, and this process into the cgroups.
func enter(dir string, pid int) error {
	cgroups, err := recordedCgroups(dir)
	if err != nil {
		return err
	}
	for _, cgroup := range cgroups {
		if err := join(cgroup); err != nil {
			return err
		}
	}
	files := make([]*os.File, len(namespaces))
	for i, namespace := range namespaces {
		if files[i], err = os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, namespace.name)); err != nil {
			return err
		}
		defer files[i].Close()
	}
	// A thread that shares its root and working folder with others cannot change its mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	working, err := os.Getwd()
	if err != nil {
		return err
	}
	for i, namespace := range namespaces {
		if err := unix.Setns(int(files[i].Fd()), namespace.flag); err != nil {
			return fmt.Errorf("namespace %s: %w", namespace.name, err)
		}
	}
	return unix.Chdir(working)
}

// Become replaces this process, which Enter started in a sandbox, by the program. It dies with its parent, which
// is outside and so has no id here.
func Become(path string, args []string) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != 0 {
		return errors.New("whoever started this in the sandbox has ended")
	}
	if !strings.Contains(path, "/") {
		found, err := exec.LookPath(path)
		if err != nil {
			return err
		}
		path = found
	}
	return unix.Exec(path, append([]string{path}, args...), os.Environ())
}
