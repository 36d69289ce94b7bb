// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/benchmark/internal/plane"
)

const (
	// idleNamespaces is over how many namespaces the Rollouts are spread.
	idleNamespaces = 10
	// idleSenders is how many are created at the same time.
	idleSenders = 32
	// compactionInterval is how often the server has its store compacted, by default.
	compactionInterval = 5 * time.Minute
	// listSamples is how often all are listed in each way.
	listSamples = 5
)

// Idle is what many Rollouts cost that nobody touches, beside as many Deployments.
type Idle struct {
	// Created is how long it took to create the Rollouts and until the last of them was Healthy.
	Created time.Duration
	// Memory is what each API server had resident after the idle time. Unit: bytes.
	Memory map[string]plane.Memory
	// Share is what each process used of one processor in the idle time. Unit: percent.
	Share map[string]float64
	// Store is by how many revisions the store of Sluice grew in the idle time, Writes how many writes of Rollouts and of their
	// status there were, Host what was written to the host of ReplicaSets, events and ConfigMaps by whomever.
	Store, Writes, Host float64
	// Start is from the start of the process until it was ready, with all Rollouts in the store.
	Start time.Duration
	// Rollouts and Deployments are the lists of all.
	Rollouts, Deployments Lists
	// FailOver is from the death of the server that led until another had acted on a new Rollout.
	FailOver time.Duration
}

// Lists are how long it took to list all objects, from the request to the last byte.
type Lists struct {
	Protobuf, Table []time.Duration
	// Size is how large the answer in protobuf is. Unit: bytes.
	Size int
}

// Rest is how much is measured.
type Rest struct {
	// Prefix is what the names of the namespaces begin with.
	Prefix string
	// Rollouts is how many there are, and Deployments; a multiple of ten.
	Rollouts int
	// Time is how long nothing is done.
	Time time.Duration
	// Leave says that they need not be deleted, because the control plane will be.
	Leave bool
}

// Idle creates Rollouts without pods, and measures what they cost.
func (c *Clients) Idle(ctx context.Context, p *plane.Plane, r Rest) (result Idle, err error) {
	var namespaces []string
	for i := range idleNamespaces {
		namespaces = append(namespaces, fmt.Sprintf("%s-%d", r.Prefix, i))
	}
	act := func() error {
		steps := []func(context.Context, *plane.Plane, Rest, []string, *Idle) error{c.createIdle, c.settle, c.rest, c.listAll, c.restart, c.failOver}
		for _, step := range steps {
			if err := step(ctx, p, r, namespaces, &result); err != nil {
				return err
			}
		}
		return nil
	}
	if !r.Leave {
		err = c.withNamespaces(ctx, namespaces, act)
	} else {
		for _, namespace := range namespaces {
			if err := c.createNamespace(ctx, namespace); err != nil {
				return result, err
			}
		}
		err = act()
	}
	if err != nil {
		return Idle{}, fmt.Errorf("measuring idle Rollouts: %w", err)
	}
	return result, nil
}

// createIdle creates all, and waits until nothing is left to be done about them.
func (c *Clients) createIdle(ctx context.Context, _ *plane.Plane, r Rest, namespaces []string, result *Idle) error {
	began := time.Now()
	kind := c.Rollouts(Weights(20, 40, 60, 80))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(idleSenders)
	for i := range r.Rollouts {
		group.Go(func() error {
			return kind.create(inner, namespaces[i%idleNamespaces], fmt.Sprintf("workload-%05d", i), 0)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, namespace := range namespaces {
		err := poll(ctx, "the Rollouts of "+namespace+" to be Healthy", func(ctx context.Context) (bool, error) {
			list, err := c.rollouts.SluiceV1alpha1().Rollouts(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
			if err != nil || len(list.Items) != r.Rollouts/idleNamespaces {
				return false, err
			}
			for i := range list.Items {
				if list.Items[i].Status.Phase != v1alpha1.RolloutPhaseHealthy {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	result.Created = time.Since(began)
	group, inner = errgroup.WithContext(ctx)
	group.SetLimit(idleSenders)
	for i := range r.Rollouts {
		group.Go(func() error {
			_, err := c.host.AppsV1().Deployments(namespaces[i%idleNamespaces]).Create(inner, pausedDeployment(fmt.Sprintf("deployment-%05d", i)), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return nil
}

// settle waits until what creating them has left is gone: the server has the store forget what is older than its last
// compaction but one, so after two of them nothing else happens than what happens for ever.
func (c *Clients) settle(ctx context.Context, p *plane.Plane, _ Rest, _ []string, _ *Idle) error {
	before, err := p.Metrics(ctx, plane.SluiceAPIServer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*compactionInterval)
	defer cancel()
	err = wait.PollUntilContextCancel(ctx, compactionInterval/100, true, func(ctx context.Context) (bool, error) {
		now, err := p.Metrics(ctx, plane.SluiceAPIServer)
		return err == nil && now.Added(before, "grpc_client_handled_total", plane.Labels{"grpc_method": {"Compact"}}) >= 2, err
	})
	if err != nil {
		return fmt.Errorf("waiting for the store of Sluice to be compacted twice: %w", err)
	}
	return pause(ctx, eventWindow)
}

// pausedDeployment is one without pods, and without ReplicaSets as long as it is paused.
func pausedDeployment(name string) *appsv1.Deployment {
	var none int32
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Paused: true, Replicas: &none, Selector: selector(name), Template: template(name)},
	}
}

// rest does nothing for a while, and counts.
func (c *Clients) rest(ctx context.Context, p *plane.Plane, r Rest, _ []string, result *Idle) error {
	countedBefore, err := read(ctx, p)
	if err != nil {
		return err
	}
	revision, err := c.revision(ctx)
	if err != nil {
		return err
	}
	usedBefore, err := p.CPU()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := pause(ctx, r.Time); err != nil {
		return err
	}
	used, err := p.CPU()
	if err != nil {
		return err
	}
	lasted := time.Since(began)
	result.Share = map[string]float64{}
	for name, spent := range used.Since(usedBefore) {
		result.Share[name] = 100 * spent.Seconds() / lasted.Seconds()
	}
	result.Memory = map[string]plane.Memory{}
	for _, name := range []string{plane.KubeAPIServer, plane.SluiceAPIServer} {
		if result.Memory[name], err = p.Memory(name); err != nil {
			return err
		}
	}
	after, err := c.revision(ctx)
	if err != nil {
		return err
	}
	countedAfter, err := read(ctx, p)
	if err != nil {
		return err
	}
	counted := counts(c.Rollouts(nil), countedBefore, countedAfter)
	result.Store, result.Writes = float64(after-revision), counted.Workloads
	result.Host = counted.ReplicaSets + counted.Events + counted.HostRecords
	return nil
}

// revision is that of the store of Sluice. Every write raises it.
func (c *Clients) revision(ctx context.Context) (int64, error) {
	list, err := c.rollouts.SluiceV1alpha1().Rollouts(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(list.ResourceVersion, 10, 64)
}

// restart ends the server, and measures the next start.
func (c *Clients) restart(ctx context.Context, p *plane.Plane, _ Rest, _ []string, result *Idle) (err error) {
	if result.Start, err = p.Restart(ctx); err != nil {
		return err
	}
	// The host may take its time to see that it is back.
	return poll(ctx, "Rollouts to be served through the host again", func(ctx context.Context) (bool, error) {
		_, err := c.revision(ctx)
		return err == nil, nil
	})
}

// failOvers numbers the Rollouts that tell when the next leader acts.
var failOvers atomic.Int32
