// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// Down stops every component, whether or not the launcher that started it came to its end. The data
// stays, for the next start in the same folder.
func (c *Cluster) Down(ctx context.Context) error {
	return c.stopAll(ctx)
}

// Purge deletes what a control plane that is down leaves in its folder: data, keys, logs, records.
// It deletes nothing else there, the binaries neither.
func (c *Cluster) Purge() error {
	layout := component.Layout{Dir: c.state.Dir}
	err := os.Remove(layout.Kubeconfig())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	for _, folder := range layout.Folders() {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

// dyingGrace is how long the processes of a sandbox may take to die after its first one has.
const dyingGrace = 10 * time.Second

// stopAll stops clients before their servers, so that none fills its log with complaints.
func (c *Cluster) stopAll(ctx context.Context) error {
	err := c.record(func(s *state.State) { s.Up = false })
	for _, names := range stopOrder(c.state.Components) {
		group := errgroup.Group{}
		for _, name := range names {
			group.Go(func() error { return c.Stop(ctx, name, interrupt) })
		}
		err = errors.Join(err, group.Wait())
	}
	return errors.Join(err, sandbox.RemoveCgroups(c.state.Dir, dyingGrace))
}

// stopOrder sorts the components into groups that are stopped one after another.
func stopOrder(components []*state.Component) [][]string {
	last := []string{component.Etcd, component.SluiceEtcd}
	groups := make([][]string, 4)
	for _, c := range components {
		switch {
		case c.Name == component.Sandbox:
			groups[3] = append(groups[3], c.Name)
		case slices.Contains(last, c.Name):
			groups[2] = append(groups[2], c.Name)
		case c.Name == component.KubeAPIServer:
			groups[1] = append(groups[1], c.Name)
		default:
			groups[0] = append(groups[0], c.Name)
		}
	}
	return groups
}

// Remains says whether something was ever started in dir.
func Remains(dir string) bool {
	_, err := os.Stat(filepath.Clean(state.Path(dir)))
	return err == nil
}
