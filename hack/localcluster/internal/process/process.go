// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package process starts programs that outlive their starter, and later finds, judges and ends them
// by an identity that a reused process id cannot fake. It imports only the standard library.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// pollInterval is how often a process that is no child of ours is looked at while we wait for its end.
const pollInterval = 20 * time.Millisecond

// Identity is a process, not merely its id: ids are given out again, after a reboot even the same ones.
type Identity struct {
	// PID is the process id.
	PID int `json:"pid"`
	// Birth tells apart processes that had the same id: boot and start time, as the system has them.
	Birth string `json:"birth"`
}

// Alive says whether the process still runs. One that ended but was not collected by its parent yet
// does not run any more.
func (i Identity) Alive() bool {
	if i.PID <= 0 {
		return false
	}
	birth, running := lookup(i.PID)
	return running && birth == i.Birth
}

// Signal sends the signal to the process, and to nobody else: without an error if it is gone already.
func (i Identity) Signal(signal os.Signal) error {
	// On Linux the handle pins the process, so that the check below holds until the signal is sent.
	handle, err := os.FindProcess(i.PID)
	if err != nil {
		return nil
	}
	defer handle.Release()
	if !i.Alive() {
		return nil
	}
	if err := handle.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot send %v to process %d: %w", signal, i.PID, err)
	}
	return nil
}

// Stop sends the signal, waits up to grace for the end of the process, and kills it if it still runs.
func (i Identity) Stop(ctx context.Context, signal os.Signal, grace time.Duration) error {
	if err := i.Signal(signal); err != nil {
		return err
	}
	if i.waitGone(ctx, grace) {
		return nil
	}
	if err := i.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !i.waitGone(context.WithoutCancel(ctx), 10*time.Second) {
		return fmt.Errorf("process %d does not end, not even killed", i.PID)
	}
	return nil
}

func (i Identity) waitGone(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for i.Alive() {
		select {
		case <-ctx.Done():
			return !i.Alive()
		case <-ticker.C:
		}
	}
	return true
}

// Command is a program to start.
type Command struct {
	// Path is the executable, Args what follows its name.
	Path string
	Args []string
	// Dir is the working folder.
	Dir string
	// Log is the file that its output is appended to.
	Log string
	// Attributes are those of the process; nil puts it into a session of its own, as all others must be too.
	Attributes *syscall.SysProcAttr
}

// Child is a process that we started, while we still run.
type Child struct {
	Identity
	// Exited is closed when the process has ended.
	Exited <-chan struct{}
}

// Start runs the command in a session of its own, so that neither our end nor a Ctrl-C reaches it. Of
// our environment it sees only the named variables: etcd for one is configured by it.
func (c Command) Start() (*Child, error) {
	output, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer output.Close()

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = environment(os.LookupEnv)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = cmp.Or(c.Attributes, &syscall.SysProcAttr{Setsid: true})
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	birth, _ := lookup(cmd.Process.Pid)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // How it ended is in its log.
	}()
	return &Child{Identity: Identity{PID: cmd.Process.Pid, Birth: birth}, Exited: exited}, nil
}

func environment(lookup func(string) (string, bool)) []string {
	var result []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "GODEBUG", "GOMAXPROCS", "GOTRACEBACK", "GOCOVERDIR"} {
		if value, set := lookup(name); set {
			result = append(result, name+"="+value)
		}
	}
	return result
}
