// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package state is the record of one control plane, _local/run/state.json: what was started, where it
// listens, where its files are, and which processes it runs in. Commands find each other through it,
// and tests read it. It imports the packages component and process.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/process"
)

// version is raised when a field changes its meaning.
const version = 1

// State is a control plane.
type State struct {
	// Version is the version of this format.
	Version int `json:"version"`
	// Dir is the folder of the control plane, BinDir that of the binaries, Repository the source tree.
	Dir        string `json:"dir"`
	BinDir     string `json:"binDir"`
	Repository string `json:"repository"`
	// Kubeconfig is the administrator's; Server and CAFile are what it holds.
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	CAFile     string `json:"caFile"`
	// PKIDir holds all keys and certificates.
	PKIDir string `json:"pkiDir"`
	// Sluice says how Sluice is part of it: none, embedded, external or in-cluster.
	Sluice component.SluiceMode `json:"sluice"`
	// SluiceKubeconfig is that of Sluice's own ServiceAccount.
	SluiceKubeconfig string `json:"sluiceKubeconfig,omitempty"`
	// Real is true if its node is real, and the components but the relay are in a sandbox.
	Real bool `json:"real,omitempty"`
	// Up is true from the moment that everything was ready until it is taken down.
	Up bool `json:"up"`
	// StartedAt is when this control plane was started.
	StartedAt time.Time `json:"startedAt"`
	// NodeReadyAt is when its real node was seen to be ready; zero before that, and with fake nodes.
	NodeReadyAt time.Time `json:"nodeReadyAt,omitzero"`
	// Ports are the ports on 127.0.0.1 by their names.
	Ports map[string]int `json:"ports"`
	// Components are the components in the order of their start.
	Components []*Component `json:"components"`
}

// Component is a component and the process it runs in.
type Component struct {
	component.Component
	// Wanted is false if it was stopped on purpose, or never started: then its absence is no crash.
	Wanted bool `json:"wanted"`
	// ExtraArgs are what the last start added to its arguments.
	ExtraArgs []string `json:"extraArgs,omitempty"`
	// Process is the process of its last start.
	Process process.Identity `json:"process"`
	// StartedAt is when that was, LogOffset where its output starts in the log.
	StartedAt time.Time `json:"startedAt,omitzero"`
	LogOffset int64     `json:"logOffset"`
}

// Condition is what has become of a component.
type Condition string

const (
	// Running means that the process is there; whether it is ready, its health tells.
	Running Condition = "running"
	// Stopped means that it is not supposed to run.
	Stopped Condition = "stopped"
	// Crashed means that it is supposed to run and does not.
	Crashed Condition = "crashed"
)

// Condition judges the component by its process.
func (c *Component) Condition() Condition {
	switch {
	case c.Process.Alive():
		return Running
	case c.Wanted:
		return Crashed
	default:
		return Stopped
	}
}

// Find returns the component with this name.
func (s *State) Find(name string) (*Component, error) {
	var names []string
	for _, c := range s.Components {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return nil, fmt.Errorf("no component %q; there are %q", name, names)
}

// AnyAlive says whether any process of it still runs.
func (s *State) AnyAlive() bool {
	for _, c := range s.Components {
		if c.Process.Alive() {
			return true
		}
	}
	return false
}

// New is the record of a control plane that is about to be started.
func New(layout component.Layout, now time.Time) *State {
	s := &State{
		Version: version, Dir: layout.Dir, BinDir: layout.BinDir, Repository: layout.Repository,
		Kubeconfig: layout.Kubeconfig(), CAFile: layout.PKI(component.ClusterAuthority + ".crt"), PKIDir: layout.PKI(""),
		Sluice: layout.Mode, Real: layout.Real, StartedAt: now.UTC(),
	}
	if layout.Mode == component.EmbeddedEtcd || layout.Mode == component.ExternalEtcd {
		s.SluiceKubeconfig = layout.SluiceKubeconfig()
	}
	s.Define(layout)
	return s
}

// Define takes arguments, addresses and ports from the layout, in which they may have changed, and
// keeps what is known of processes.
func (s *State) Define(layout component.Layout) {
	known := map[string]*Component{}
	for _, c := range s.Components {
		known[c.Name] = c
	}
	s.Components = nil
	for _, definition := range layout.Components() {
		c := known[definition.Name]
		if c == nil {
			c = &Component{}
		}
		c.Component = definition
		s.Components = append(s.Components, c)
	}
	s.Ports = layout.Ports
	s.Server = layout.Server()
}

// Command is what a person types to run the launcher's command on this control plane.
func (s *State) Command(name string) string {
	if s.Dir == filepath.Join(s.Repository, "_local") {
		return "make " + name
	}
	return fmt.Sprintf("%s %s --dir %s", filepath.Join(s.BinDir, "localcluster"), name, s.Dir)
}

// Path is where the record of the control plane in dir is.
func Path(dir string) string { return filepath.Join(dir, "run", "state.json") }

// Load reads the record of the control plane in dir; nil if there is none.
func Load(dir string) (*State, error) {
	content, err := os.ReadFile(Path(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); end the processes named in it, then delete it", Path(dir), err)
	}
	if s.Version != version {
		return nil, fmt.Errorf("%s has version %d, this launcher writes %d; take that control plane down with the launcher that started it", Path(dir), s.Version, version)
	}
	return &s, nil
}

// Save writes the record, whole or not at all.
func (s *State) Save() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := Path(s.Dir) + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, Path(s.Dir))
}
