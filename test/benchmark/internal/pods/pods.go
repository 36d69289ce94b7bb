// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pods measures what takes real containers: how soon a node and an installation are there, and what the
// clients of an application see of an update, with a Deployment beside it. It may import test/cluster and clients.
package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/traffic/report"
)

const (
	// name is that of the workload and of its Service.
	name = "demo"
	// rate is that of the load. Unit: requests a second.
	rate = 300
	// interval is how exactly it is known when an answer came.
	interval = 10 * time.Millisecond
	// limit is how long one wait may take.
	limit = 2 * time.Minute
)

// Measured is what one run gives.
type Measured struct {
	// NodeReady is from nothing running to a node that is ready, the binaries and images being there.
	NodeReady time.Duration
	// Served is from kubectl apply of the manifests to a registration that is Available.
	Served time.Duration
	// Rollout and Deployment are what the clients of each saw.
	Rollout, Deployment Seen
}

// Seen is what clients saw of an update that was taken back.
type Seen struct {
	// First is from the change of the image to the first answer of the new version.
	First time.Duration
	// Last is from the order to go back (abort, undo) to the last answer of the new version.
	Last time.Duration
	// Requests is how many were sent from the first change to the end, Failed how many of them were not answered, or by
	// an error.
	Requests, Failed int
}

// Measure starts a node of its own for one run, and takes it down.
func Measure(ctx context.Context, progress io.Writer) (m Measured, err error) {
	dir, err := os.MkdirTemp("", "sluice-benchmark-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := cluster.Up(ctx, cluster.Options{Dir: dir, Real: true, HostOnly: true, Progress: progress})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	if m.NodeReady, err = c.Boot(); err != nil {
		return m, err
	}
	if m.Served, err = install(ctx, c); err != nil {
		return m, err
	}
	if m.Rollout, err = (trial{c, "pods-rollout", rollout}).run(ctx); err != nil {
		return m, fmt.Errorf("a Rollout: %w", err)
	}
	m.Deployment, err = trial{c, "pods-deployment", deployment}.run(ctx)
	if err != nil {
		err = fmt.Errorf("a Deployment: %w", err)
	}
	return m, err
}

// install installs Sluice as users do.
func install(ctx context.Context, c *cluster.Cluster) (time.Duration, error) {
	began := time.Now()
	if err := kubectl(ctx, c, "", "apply", "-k", filepath.Join(c.Repository(), "artifacts", "overlays", "embedded")); err != nil {
		return 0, err
	}
	err := kubectl(ctx, c, "", "wait", "apiservice/v1alpha1.sluice.dev", "--for=condition=Available", "--timeout=2m")
	return time.Since(began), err
}

func kubectl(ctx context.Context, c *cluster.Cluster, stdin string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	output, err := c.Kubectl(ctx, stdin, args...)
	if err != nil {
		return err
	}
	return output.Err()
}

// kind is what is updated, in terms of kubectl.
type kind struct {
	// manifest creates it.
	manifest string
	// deployed waits until it is, updated until it is as far as it goes by itself, back until it is back.
	deployed, updated, back []string
	// update changes the image, goBack takes that back.
	update, goBack []string
}

// trial is one update of one kind in a namespace of its own.
type trial struct {
	*cluster.Cluster
	namespace string
	kind      kind
}

func (t trial) kubectl(ctx context.Context, args ...string) error {
	return kubectl(ctx, t.Cluster, "", append(args, "--namespace="+t.namespace)...)
}

func (t trial) run(ctx context.Context) (seen Seen, err error) {
	if err := t.kubectl(ctx, "create", "namespace", t.namespace); err != nil {
		return seen, err
	}
	if err := kubectl(ctx, t.Cluster, t.kind.manifest, "apply", "--namespace="+t.namespace, "-f", "-"); err != nil {
		return seen, err
	}
	url, err := t.serve(ctx)
	if err != nil {
		return seen, err
	}
	if err := t.kubectl(ctx, t.kind.deployed...); err != nil {
		return seen, err
	}
	traffic, err := cluster.Load{URL: url, Rate: rate, Interval: interval}.Start(ctx, t.Cluster)
	if err != nil {
		return seen, err
	}
	changed, returned, err := t.thereAndBack(ctx, traffic)
	reports, stopErr := traffic.Stop()
	if err := errors.Join(err, stopErr); err != nil {
		return seen, err
	}
	return t.seen(reports, changed, returned)
}

// serve makes the Service, and returns its URL.
func (t trial) serve(ctx context.Context) (string, error) {
	created, err := t.Host.CoreV1().Services(t.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	return "http://" + created.Spec.ClusterIP + "/", nil
}

// thereAndBack updates and takes that back, and says when each was ordered.
func (t trial) thereAndBack(ctx context.Context, traffic *cluster.Traffic) (changed, returned time.Time, err error) {
	changed = time.Now()
	if err := errors.Join(t.kubectl(ctx, t.kind.update...), t.kubectl(ctx, t.kind.updated...)); err != nil {
		return changed, returned, err
	}
	if _, err := traffic.Await(ctx, func(r report.Report) bool { return r.Of("yellow") > 0 }); err != nil {
		return changed, returned, err
	}
	returned = time.Now()
	if err := errors.Join(t.kubectl(ctx, t.kind.goBack...), t.kubectl(ctx, t.kind.back...)); err != nil {
		return changed, returned, err
	}
	// Those that end go on answering for a moment, until the proxy knows.
	for {
		last, err := traffic.Sample(ctx, rate)
		if err != nil || last.Of("yellow") == 0 {
			return changed, returned, err
		}
	}
}

// seen reads the answers.
func (t trial) seen(reports []report.Report, changed, returned time.Time) (Seen, error) {
	var seen Seen
	sum := report.Sum(reports...)
	seen.Requests, seen.Failed = sum.Requests(), sum.Lost()
	for _, r := range reports {
		if r.Of("yellow") == 0 {
			continue
		}
		if seen.First == 0 {
			seen.First = r.Time.Sub(changed)
		}
		seen.Last = r.Time.Sub(returned)
	}
	if seen.First <= 0 || seen.Last <= 0 {
		return seen, fmt.Errorf("the new version did not answer between the change and its end: %s", sum)
	}
	return seen, nil
}
