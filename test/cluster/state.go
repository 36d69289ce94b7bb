// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// The names of the components that tests stop and start.
const (
	Server            = "sluice-apiserver"
	SecondServer      = "sluice-apiserver-2"
	ControllerManager = "kube-controller-manager"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
	KubeProxy         = "kube-proxy"
	// Sandbox is the first process of a real node.
	Sandbox = "sandbox"
)

// state is what is read of the launcher's record of a control plane.
type state struct {
	Up         bool        `json:"up"`
	Real       bool        `json:"real"`
	StartedAt  time.Time   `json:"startedAt"`
	NodeReady  time.Time   `json:"nodeReadyAt"`
	Components []Component `json:"components"`
}

// Component is what the launcher knows of one component.
type Component struct {
	// Name is its name.
	Name string `json:"name"`
	// Path is its executable, Args are its arguments.
	Path string   `json:"path"`
	Args []string `json:"args"`
	// URL is where clients reach it.
	URL string `json:"url"`
	// DataDir is where it keeps its data.
	DataDir string `json:"dataDir"`
	// Log is the file that its output goes to; the last run's begins at LogOffset.
	Log       string `json:"log"`
	LogOffset int64  `json:"logOffset"`
	// Process is the process of its last start.
	Process struct {
		PID int `json:"pid"`
	} `json:"process"`
}

func (s *state) find(name string) (Component, error) {
	for _, c := range s.Components {
		if c.Name == name {
			return c, nil
		}
	}
	return Component{}, fmt.Errorf("the control plane has no component %q", name)
}

// LastLines are the last lines of the component's log.
func (c Component) LastLines(count int) (string, error) {
	content, err := os.ReadFile(c.Log)
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(bytes.TrimSpace(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n"), nil
}
