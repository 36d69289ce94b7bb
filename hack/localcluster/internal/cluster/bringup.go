// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/hack/localcluster/internal/component"
)

// bringUp starts everything, in the order in which one needs the other. The controller manager comes
// last, so that its collector and its quotas know our group from the start and not only after their
// next look at discovery, half a minute later.
func (c *Cluster) bringUp(ctx context.Context, nodes int) error {
	if c.layout.Real {
		return c.bringUpReal(ctx)
	}
	var stores errgroup.Group
	stores.Go(func() error { return c.launch(ctx, component.Etcd) })
	if c.layout.Mode == component.ExternalEtcd {
		stores.Go(func() error { return c.launch(ctx, component.SluiceEtcd) })
	}
	if err := stores.Wait(); err != nil {
		return err
	}
	// Some are read by kube-apiserver; others hold ports, which may be others once it runs.
	if err := writeFiles(c.current()); err != nil {
		return err
	}
	if err := c.launch(ctx, component.KubeAPIServer); err != nil {
		return err
	}
	layout := c.current()
	if err := errors.Join(writeUserKubeconfigs(layout), writeFiles(layout)); err != nil {
		return err
	}
	host, err := newHost(layout)
	if err != nil {
		return err
	}
	clients, ctx := errgroup.WithContext(ctx)
	clients.Go(func() error { return c.launch(ctx, component.Scheduler) })
	clients.Go(func() error { return c.launch(ctx, component.Kwok) })
	clients.Go(func() error { return host.createNodes(ctx, nodes) })
	clients.Go(func() error {
		if layout.Mode != component.NoSluice {
			if err := c.bringUpSluice(ctx, host); err != nil {
				return err
			}
		}
		if err := c.launch(ctx, component.ControllerManager); err != nil {
			return err
		}
		return host.waitDefaultServiceAccount(ctx)
	})
	return clients.Wait()
}

// bringUpSluice registers and starts Sluice. The second replica is left to those who want it.
func (c *Cluster) bringUpSluice(ctx context.Context, host *host) error {
	applied := c.current()
	if err := host.applyArtifacts(ctx); err != nil {
		return err
	}
	if err := host.writeSluiceKubeconfig(ctx); err != nil {
		return err
	}
	if err := c.launch(ctx, component.Sluice); err != nil {
		return err
	}
	if applied.Mode == component.ExternalEtcd {
		if err := c.launch(ctx, component.SluiceBalancer); err != nil {
			return err
		}
	}
	if now := c.current(); now.Address(now.ServicePort()) != applied.Address(applied.ServicePort()) {
		if err := errors.Join(writeFiles(now), host.applyArtifacts(ctx)); err != nil {
			return err
		}
	}
	task := c.reporter.Begin("waiting for " + groupVersion)
	defer task.Done("")
	return host.waitServed(ctx)
}

// launch starts a component and waits until it is ready. A port that somebody took since it was chosen
// is replaced by another one: nobody has been told of it yet.
func (c *Cluster) launch(ctx context.Context, name string) error {
	for attempt := 1; ; attempt++ {
		err := c.start(ctx, name, StartOptions{Wait: true, Timeout: startTimeout})
		if !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return err
		}
		if err := c.movePorts(name); err != nil {
			return err
		}
	}
}

// current is the layout as it is now, safe to read while others are moved to other ports.
func (c *Cluster) current() component.Layout {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.layout
}

func (c *Cluster) movePorts(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	definition, err := c.layout.Component(name)
	if err != nil {
		return err
	}
	chosen := maps.Clone(c.layout.Ports)
	for _, port := range definition.PortNames {
		if err := choosePort(chosen, port); err != nil {
			return err
		}
	}
	c.layout.Ports = chosen
	c.state.Define(c.layout)
	return c.state.Save()
}

// writeFiles writes the configuration files of the components and the kustomization.
func writeFiles(layout component.Layout) error {
	artifacts, err := relative(layout.Config(""), filepath.Join(layout.Repository, "artifacts"))
	if err != nil {
		return err
	}
	artifacts = filepath.Join("..", artifacts) // the kustomization has a folder of its own
	for name, content := range layout.Files(artifacts) {
		path := layout.Config(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// relative is the path from one folder to another as the file system sees them: kustomize takes no
// absolute path, and resolves symbolic links before it follows a relative one.
func relative(from, to string) (string, error) {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return "", err
	}
	to, err = filepath.EvalSymlinks(to)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}
