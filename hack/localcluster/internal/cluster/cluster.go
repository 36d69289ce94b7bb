// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster takes the local control plane up and down, and starts and stops its components one
// by one. It is the shell around the packages component (what there is), state (what runs) and process
// (how it is run), and the only one that talks to the API server.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/process"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

const (
	// startTimeout is how long a component may take until it is ready, on a machine busy with a build.
	startTimeout = 2 * time.Minute
	// stopGrace is how long a component may take to end before it is killed. Sluice promises 10 s.
	stopGrace = 12 * time.Second
	// portAttempts is how many times a component that lost the race for a port gets another one.
	portAttempts = 5
	// tailLines is how much of the log of a crashed component is shown.
	tailLines = 15
)

// Cluster is a control plane that a command works on. It holds the lock of its folder.
type Cluster struct {
	reporter *progress.Reporter
	unlock   func() error

	// mu guards the state, which components that start at the same time all write to.
	mu    sync.Mutex
	state *state.State
	// layout is what the state was made from, while everything is being started. Its map of ports is
	// replaced, never changed, so that a copy of it may be read without the lock.
	layout component.Layout
}

// Open locks the control plane in dir, which must have been started before.
func Open(ctx context.Context, dir string, reporter *progress.Reporter) (*Cluster, error) {
	if _, err := os.Stat(state.Path(dir)); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no control plane was ever started in %s; do so with: localcluster up --dir %s", dir, dir)
	}
	unlock, err := lock(ctx, dir, time.Minute)
	if err != nil {
		return nil, err
	}
	recorded, err := state.Load(dir)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &Cluster{reporter: reporter, unlock: unlock, state: recorded}, nil
}

// Close releases the folder; what runs goes on running.
func (c *Cluster) Close() error { return c.unlock() }

// Dir is the folder of the control plane.
func (c *Cluster) Dir() string { return c.state.Dir }

// lock takes the lock of the folder, or says after the given time who holds it.
func lock(ctx context.Context, dir string, patience time.Duration) (unlock func() error, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "run", "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		if time.Now().After(deadline) {
			holder, _ := os.ReadFile(file.Name())
			return nil, errors.Join(fmt.Errorf("another localcluster command (process %s) is at work in %s; wait for it or end it",
				strings.TrimSpace(string(holder)), dir), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := file.Truncate(0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if _, err := fmt.Fprintln(file, os.Getpid()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}

// spawn starts the component's process and records it, before anything else can go wrong.
func (c *Cluster) spawn(name string, extra []string) (component.Component, *process.Child, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recorded, err := c.state.Find(name)
	if err != nil {
		return component.Component{}, nil, err
	}
	definition := recorded.Component
	offset := process.Size(definition.Log)
	command := process.Command{
		Path: definition.Path, Args: append(append([]string(nil), definition.Args...), extra...),
		Dir: c.state.Dir, Log: definition.Log,
	}
	if name == component.Sandbox {
		command.Attributes = sandbox.Attributes()
	}
	child, err := command.Start()
	if err != nil {
		return definition, nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	recorded.Wanted, recorded.ExtraArgs, recorded.LogOffset = true, extra, offset
	recorded.Process, recorded.StartedAt = child.Identity, time.Now().UTC()
	return definition, child, c.state.Save()
}

// find returns what is recorded of the component now.
func (c *Cluster) find(name string) (state.Component, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recorded, err := c.state.Find(name)
	if err != nil {
		return state.Component{}, err
	}
	return *recorded, nil
}

// record changes the state and saves it.
func (c *Cluster) record(change func(*state.State)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.state)
	return c.state.Save()
}

// lastLines quotes the end of the log since the component was last started.
func lastLines(c state.Component) string {
	lines := process.Tail(c.Log, c.LogOffset, tailLines)
	if len(lines) == 0 {
		return fmt.Sprintf("its log %s is empty", c.Log)
	}
	return fmt.Sprintf("the last lines of %s:\n    %s", c.Log, strings.Join(lines, "\n    "))
}
