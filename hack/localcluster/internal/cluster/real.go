// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// bringUpReal starts a control plane and a real node in a sandbox, and installs Sluice in it as users do.
func (c *Cluster) bringUpReal(ctx context.Context) error {
	layout := c.current()
	if err := errors.Join(renew(layout), writeUserKubeconfigs(layout), writeFiles(layout)); err != nil {
		return err
	}
	if err := c.launch(ctx, component.Sandbox); err != nil {
		return err
	}
	parts, partsCtx := errgroup.WithContext(ctx)
	parts.Go(func() error {
		if err := c.launch(partsCtx, component.Containerd); err != nil {
			return err
		}
		return c.importImages(partsCtx)
	})
	parts.Go(func() error {
		if err := c.launch(partsCtx, component.Etcd); err != nil {
			return err
		}
		if err := c.launch(partsCtx, component.KubeAPIServer); err != nil {
			return err
		}
		return c.launch(partsCtx, component.Relay)
	})
	if err := parts.Wait(); err != nil {
		return err
	}
	// The relay may have been given another port by now.
	layout = c.current()
	if err := writeUserKubeconfigs(layout); err != nil {
		return err
	}
	host, err := newHost(layout)
	if err != nil {
		return err
	}
	clients, clientsCtx := errgroup.WithContext(ctx)
	for _, name := range []string{component.Scheduler, component.Kubelet, component.KubeProxy, component.ControllerManager} {
		clients.Go(func() error { return c.launch(clientsCtx, name) })
	}
	clients.Go(func() error { return host.waitNode(clientsCtx, c) })
	if err := clients.Wait(); err != nil {
		return err
	}
	if err := errors.Join(host.waitDefaultServiceAccount(ctx), host.apply(ctx, "-f", layout.Config(component.AddonsFile))); err != nil {
		return err
	}
	if layout.Mode != component.InCluster {
		return nil
	}
	task := c.reporter.Begin("installing Sluice")
	defer task.Done("")
	if err := host.applyArtifacts(ctx); err != nil {
		return err
	}
	return host.waitServed(ctx)
}

// renew makes a node that has never run: its containers are gone with the sandbox that they ran in. Only its
// volumes stay.
func renew(layout component.Layout) error {
	for _, folder := range layout.EphemeralData() {
		if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o700)); err != nil {
			return err
		}
	}
	for i := range component.Volumes {
		if err := os.MkdirAll(layout.Volume(i+1), 0o777); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(layout.Dir, "log", "pods"), 0o700)
}

// importImages gives the node the images that were built for it. None of them is ever pulled.
func (c *Cluster) importImages(ctx context.Context) error {
	archives, err := filepath.Glob(filepath.Join(c.current().Images(), "*.tar"))
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if err := c.Import(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}

// Import gives the node the images of an archive.
func (c *Cluster) Import(ctx context.Context, archive string) error {
	layout := c.current()
	cmd := exec.CommandContext(ctx, layout.Launcher(), "enter", "--dir="+layout.Dir, "--", filepath.Join(layout.BinDir, "ctr"),
		"--address="+component.ContainerdSocket, "--namespace=k8s.io", "images", "import", "--local", archive)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot import %s: %w\n%s", archive, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// waitNode waits until the node is ready.
func (h *host) waitNode(ctx context.Context, c *Cluster) error {
	task := c.reporter.Begin("waiting for the node")
	defer task.Done("")
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	last := "it did not register"
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		node, err := h.client.CoreV1().Nodes().Get(ctx, component.NodeName, metav1.GetOptions{})
		if err != nil {
			if !apierrors.IsNotFound(err) {
				last = err.Error()
			}
			return false, nil
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				last = condition.Message
				// The node of an earlier run was ready too.
				fresh := !condition.LastHeartbeatTime.Time.Before(c.state.StartedAt.Truncate(time.Second))
				return condition.Status == corev1.ConditionTrue && fresh, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("the node is not ready: %s", last)
	}
	return c.record(func(s *state.State) { s.NodeReadyAt = time.Now().UTC() })
}
