// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Missing says what keeps a real node from running on this machine; it is empty if nothing does.
func Missing(ctx context.Context) (string, error) {
	l, err := newLauncher(ctx, Options{})
	if err != nil {
		return "", err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, l.path(), "--repository="+l.repository, "missing")
	cmd.Stderr = &said
	err = cmd.Run()
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return strings.TrimPrefix(strings.TrimSpace(said.String()), "localcluster: "), nil
	}
	return "", err
}

// Real says whether the node of the control plane is real.
func (c *Cluster) Real() (bool, error) {
	state, err := c.launcher.state()
	if err != nil {
		return false, err
	}
	return state.Real, nil
}

// Boot is how long the present start took from when the first component was about to be started, all binaries being
// there, until the real node was ready.
func (c *Cluster) Boot() (time.Duration, error) {
	state, err := c.launcher.state()
	if err != nil {
		return 0, err
	}
	took := state.NodeReady.Sub(state.StartedAt)
	if took <= 0 {
		return 0, fmt.Errorf("the control plane in %s has no real node that became ready", c.launcher.dir)
	}
	return took, nil
}

// Inside is a program to be run where the real node is: among its processes, and in its network.
func (c *Cluster) Inside(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, c.launcher.path(), append([]string{"enter", "--dir=" + c.launcher.dir, "--", program}, args...)...)
}

// Import gives the real node the images of an OCI archive.
func (c *Cluster) Import(ctx context.Context, archive string) error {
	return c.launcher.run(ctx, "import", archive)
}

// Binary is the path of a binary that the launcher has built.
func (c *Cluster) Binary(name string) string { return filepath.Join(c.launcher.binDir, name) }
