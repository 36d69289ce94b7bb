// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/build"
	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/pki"
	"sluice.dev/sluice/hack/localcluster/internal/ports"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// Options say what control plane to start.
type Options struct {
	// Repository is the root of the source tree, Dir the folder of the control plane, BinDir that of the
	// binaries. All absolute.
	Repository, Dir, BinDir string
	// Mode says how Sluice is part of it.
	Mode component.SluiceMode
	// Nodes is how many fake nodes there are; none if Real.
	Nodes int
	// Real is one real node instead.
	Real bool
}

// Up builds what is missing and starts a control plane, with the data of its predecessor in the same
// folder if there is one. It returns once everything works. If something does not, or the context
// ends, it stops what it started and says what was wrong.
func Up(ctx context.Context, options Options, reporter *progress.Reporter) (_ *state.State, err error) {
	layout := component.Layout{Dir: options.Dir, BinDir: options.BinDir, Repository: options.Repository, Mode: options.Mode, Real: options.Real, Ports: map[string]int{}}
	if options.Real {
		missing, err := Missing(options)
		if err != nil {
			return nil, err
		}
		if len(missing) > 0 {
			return nil, fmt.Errorf("a real node cannot run on this machine; what is missing:\n  - %s\nFake nodes need none of it: leave --real out", strings.Join(missing, "\n  - "))
		}
	}
	for _, folder := range layout.Folders() {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	unlock, err := lock(ctx, options.Dir, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	previous, err := state.Load(options.Dir)
	if err != nil {
		return nil, err
	}
	if err := refuseRunning(previous); err != nil {
		return nil, err
	}
	if err := Build(ctx, options, reporter); err != nil {
		return nil, err
	}
	if err := prepare(layout, previous); err != nil {
		return nil, err
	}
	c := &Cluster{reporter: reporter, unlock: unlock, layout: layout, state: state.New(layout, time.Now())}
	if err := c.bringUp(ctx, options.Nodes); err != nil {
		reporter.Printf("stopping what was started")
		return nil, errors.Join(err, c.stopAll(context.WithoutCancel(ctx)))
	}
	return c.state, c.record(func(s *state.State) { s.Up = true })
}

// Missing says what keeps a real node from being built, and from running, on this machine; nothing if it can.
func Missing(options Options) ([]string, error) {
	builder := build.Builder{Repository: options.Repository, Dir: options.BinDir}
	built, err := builder.UpToDate(build.Runc())
	return sandbox.Missing(built), err
}

// Build brings all binaries that the options need up to date.
func Build(ctx context.Context, options Options, reporter *progress.Reporter) error {
	binaries := build.Host()
	if options.Mode != component.NoSluice {
		binaries = append(binaries, build.Sluice(ctx, options.Repository)...)
	}
	if options.Real {
		binaries = append(binaries, build.Node(ctx, options.Repository)...)
	}
	builder := &build.Builder{Repository: options.Repository, Dir: options.BinDir, Reporter: reporter}
	if err := builder.Build(ctx, binaries); err != nil || !options.Real {
		return err
	}
	return images(options.BinDir, build.Version(ctx, options.Repository))
}

// refuseRunning names what runs in the folder already.
func refuseRunning(previous *state.State) error {
	if previous == nil || !previous.AnyAlive() {
		return nil
	}
	var running, crashed []string
	for _, c := range previous.Components {
		switch c.Condition() {
		case state.Running:
			running = append(running, fmt.Sprintf("%s (process %d)", c.Name, c.Process.PID))
		case state.Crashed:
			crashed = append(crashed, c.Name)
		}
	}
	text := fmt.Sprintf("a control plane is running in %s already, at %s since %s: %s",
		previous.Dir, previous.Server, previous.StartedAt.Local().Format(time.DateTime), strings.Join(running, ", "))
	if len(crashed) > 0 {
		text += "; crashed: " + strings.Join(crashed, ", ")
	}
	if !previous.Up {
		text += "; its start was cut off"
	}
	return fmt.Errorf("%s\nUse it with KUBECONFIG=%s, or stop it with: %s", text, previous.Kubeconfig, previous.Command("down"))
}

// prepare chooses the ports, makes the certificates and puts the logs of the predecessor aside.
func prepare(layout component.Layout, previous *state.State) error {
	for _, name := range layout.PortNames() {
		if previous != nil && previous.Ports[name] != 0 && ports.Free(previous.Ports[name]) {
			layout.Ports[name] = previous.Ports[name]
			continue
		}
		if err := choosePort(layout.Ports, name); err != nil {
			return err
		}
	}
	for name, leaves := range component.Certificates() {
		authority, err := pki.OpenAuthority(layout.PKI(""), name)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			if err := authority.Issue(leaf); err != nil {
				return err
			}
		}
	}
	for _, c := range layout.Components() {
		if err := os.Rename(c.Log, c.Log+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return pki.EnsureKey(layout.PKI(""), component.ServiceAccountKey)
}

func choosePort(chosen map[string]int, name string) error {
	taken := map[int]bool{}
	for _, port := range chosen {
		taken[port] = true
	}
	port, err := ports.Pick(taken)
	if err != nil {
		return err
	}
	chosen[name] = port
	return nil
}

// interrupt is how components are asked to end.
const interrupt = syscall.SIGTERM
