// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Attributes start the first process of a sandbox: in a session and in namespaces of its own. Its cgroup
// namespace comes later, since it begins at the cgroups that the process is in when it makes it.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
}

// furnished is set in the environment once the cgroups are joined.
const furnished = "SLUICE_SANDBOX_CGROUPS"

// Run is the first process of a sandbox, started with Attributes. It returns when it is asked to end, and all
// others end with it.
func (s Sandbox) Run() error {
	if os.Getpid() != 1 {
		return errors.New("a sandbox is started by localcluster up only: this is not the first process of a namespace")
	}
	if os.Getenv(furnished) == "" {
		return s.enclose()
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	if err := s.mounts(); err != nil {
		return err
	}
	if err := s.network(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.Health)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })}
	go func() { _ = server.Serve(listener) }()
	fmt.Println("ready")
	reap(ended)
	return nil
}

// enclose joins the cgroups and begins again in a cgroup namespace that starts there. Namespaces belong to a
// thread: the one that makes this one is the only one that outlives the exec.
func (s Sandbox) enclose() error {
	runtime.LockOSThread()
	if _, err := s.joinCgroups(); err != nil {
		return fmt.Errorf("the cgroups of the sandbox: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("a cgroup namespace: %w", err)
	}
	// By its path: what /proc says of the process itself is still told by the ids outside.
	return unix.Exec(os.Args[0], os.Args, append(os.Environ(), furnished+"=1"))
}

// reap collects the processes whose parent has ended, as the first process has to, until it is to end itself.
func reap(ended <-chan os.Signal) {
	children := make(chan os.Signal, 16)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
		select {
		case <-ended:
			return
		case <-children:
		}
	}
}
