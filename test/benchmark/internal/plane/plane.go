// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plane is the control plane that is measured: it has hack/localcluster start and stop one, and
// reads from outside what its processes have used and counted. It imports client-go and the parser of
// Prometheus' text format; hack/localcluster it reaches only by its command and its record of what runs.
package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The components whose metrics are read.
const (
	KubeAPIServer   = "kube-apiserver"
	SluiceAPIServer = "sluice-apiserver"
)

// Plane is a control plane that runs.
type Plane struct {
	// Config reaches it as its administrator, through the aggregator, without a throttle of the client.
	Config *rest.Config
	// Kubeconfig is the file with the same configuration, for programs.
	Kubeconfig string

	record record
	dir    string
	stop   func(context.Context) error
	launch launcher
}

// launcher runs one command of hack/localcluster on the folder of the control plane.
type launcher func(ctx context.Context, args ...string) error

// record is what is read of the launcher's state.json.
type record struct {
	Up         bool        `json:"up"`
	Kubeconfig string      `json:"kubeconfig"`
	Components []component `json:"components"`
}

type component struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	DataDir string   `json:"dataDir"`
	URL     string   `json:"url"`
	Wanted  bool     `json:"wanted"`
	Process struct {
		PID int `json:"pid"`
	} `json:"process"`
}

// Start starts a control plane of its own, empty, in a temporary folder; its binaries are built in the
// folder _local/bin of the repository. Stop takes it down and deletes the folder.
func Start(ctx context.Context, repository string, output io.Writer) (*Plane, error) {
	dir, err := os.MkdirTemp("", "sluice-benchmark-")
	if err != nil {
		return nil, err
	}
	launch := newLauncher(repository, dir, output)
	if err := launch(ctx, "up", "--output=json"); err != nil {
		return nil, err
	}
	stop := func(ctx context.Context) error {
		if err := launch(ctx, "down", "--purge"); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}
	p, err := Open(repository, dir, output)
	if err != nil {
		return nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
	}
	p.stop = stop
	return p, nil
}

func newLauncher(repository, dir string, output io.Writer) launcher {
	return func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, "go", append([]string{"-C", filepath.Join(repository, "hack", "localcluster"),
			"run", "-buildvcs=false", "./cmd/localcluster", "--dir=" + dir}, args...)...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		// What it prints at the end is its record, for programs; what it tells people goes to the other stream.
		cmd.Stderr = output
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("localcluster %s: %w; the logs are in %s", args[0], err, filepath.Join(dir, "log"))
		}
		return nil
	}
}

// Open uses the control plane in dir, which must be running. Stop leaves it as it is.
func Open(repository, dir string, output io.Writer) (*Plane, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &Plane{dir: dir, launch: newLauncher(repository, dir, output), stop: func(context.Context) error { return nil }}
	if err := p.read(); err != nil {
		return nil, err
	}
	if !p.record.Up {
		return nil, fmt.Errorf("the control plane in %s is not up; start it with make up, or leave --dir out to have one started", dir)
	}
	p.Kubeconfig = p.record.Kubeconfig
	if p.Config, err = clientcmd.BuildConfigFromFlags("", p.record.Kubeconfig); err != nil {
		return nil, err
	}
	p.Config.QPS = -1
	p.Config.UserAgent = "sluice-benchmark"
	return p, nil
}

// read reads what the launcher has recorded.
func (p *Plane) read() error {
	path := filepath.Join(p.dir, "run", "state.json")
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no control plane was started in %s; do so with make up, or leave --dir out to have one started", p.dir)
	}
	if err != nil {
		return err
	}
	p.record = record{}
	if err := json.Unmarshal(content, &p.record); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Stop ends what Start has started.
func (p *Plane) Stop(ctx context.Context) error { return p.stop(ctx) }

// component returns a component that is supposed to run.
func (p *Plane) component(name string) (component, error) {
	for _, c := range p.record.Components {
		if c.Name == name && c.Wanted {
			return c, nil
		}
	}
	return component{}, fmt.Errorf("the control plane has no %s; start it with Sluice in it", name)
}
