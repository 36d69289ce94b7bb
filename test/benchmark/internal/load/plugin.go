// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Plugin is kubectl-sluice as a program.
type Plugin struct {
	// Path is its executable, Kubeconfig what it reaches the cluster by.
	Path, Kubeconfig string
}

// firstFrame starts the plugin to follow a Rollout, and returns how long it takes from there until a whole tree, of so
// many ReplicaSets and pods, was read from its output.
func (p Plugin) firstFrame(ctx context.Context, namespace, name string, replicaSets, pods int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Path, "get", "rollout", name, "--watch", "--namespace="+namespace, "--kubeconfig="+p.Kubeconfig)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	whole := false
	for scanner := bufio.NewScanner(stdout); !whole && scanner.Scan(); whole = replicaSets == 0 && pods == 0 {
		switch line := scanner.Text(); {
		case strings.Contains(line, "⧉ "):
			replicaSets--
		case strings.Contains(line, "□ "):
			pods--
		}
	}
	took := time.Since(began)
	cancel()
	_ = cmd.Wait() // It was killed.
	if !whole {
		return 0, fmt.Errorf("%s has ended with %d ReplicaSets and %d pods of %s/%s missing in its first frame", p.Path, replicaSets, pods, namespace, name)
	}
	return took, nil
}
