// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/engine"
	rolloutinformers "sluice.dev/sluice/pkg/generated/informers/externalversions/rollouts/v1alpha1"
)

// Controller moves Rollouts. Every replica of the server runs one, with warm caches; only the one
// that holds the Lease writes.
type Controller struct {
	config      Config
	decide      func(engine.Snapshot) engine.Decision
	rollouts    rolloutinformers.RolloutIndexInformer
	replicaSets appsinformers.ReplicaSetIndexInformer
	pods        coreinformers.PodIndexInformer
	services    coreinformers.ServiceIndexInformer
	workloads   appsinformers.DeploymentIndexInformer
	handlers    []cache.ResourceEventHandlerRegistration
	phases      phaseCount
	changes     *specChanges
	// leading is the term in which this replica leads; nil while it follows.
	leading atomic.Pointer[term]
}

// New returns a Controller that does nothing until Run. The error names what is wrong with config.
func New(config Config) (*Controller, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	registerMetrics()
	c := &Controller{config: config, decide: engine.Decide, phases: phaseCount{}, changes: newSpecChanges()}
	c.rollouts = rolloutinformers.NewTypedRolloutInformer(config.Rollouts, metav1.NamespaceAll, 0,
		rolloutinformers.RolloutIndexers{cache.NamespaceIndex: indexByNamespace, servicesIndex: indexByServices, workloadIndex: indexByWorkload})
	c.replicaSets = appsinformers.NewTypedFilteredReplicaSetInformer(config.Host, metav1.NamespaceAll, 0,
		appsinformers.ReplicaSetIndexers{controllerIndex: indexByController}, onlyHashed)
	for _, informer := range []cache.SharedIndexInformer{c.rollouts, c.replicaSets} {
		if err := informer.SetTransform(dropManagedFields); err != nil {
			return nil, fmt.Errorf("preparing the caches: %w", err)
		}
	}
	c.pods = coreinformers.NewTypedFilteredPodInformer(config.Host, metav1.NamespaceAll, 0,
		coreinformers.PodIndexers{podIndex: indexPodsByController}, onlyHashedPods)
	if err := c.pods.SetTransform(trimPod); err != nil {
		return nil, fmt.Errorf("preparing the caches: %w", err)
	}
	c.services = coreinformers.NewTypedServiceInformer(config.Host, metav1.NamespaceAll, 0,
		coreinformers.ServiceIndexers{managerIndex: indexByManager})
	if err := c.services.SetTransform(trimService); err != nil {
		return nil, fmt.Errorf("preparing the caches: %w", err)
	}
	c.workloads = appsinformers.NewTypedDeploymentInformer(config.Host, metav1.NamespaceAll, 0, appsinformers.DeploymentIndexers{})
	if err := c.workloads.SetTransform(trimWorkload); err != nil {
		return nil, fmt.Errorf("preparing the caches: %w", err)
	}
	if err := c.handleEvents(); err != nil {
		return nil, fmt.Errorf("preparing the caches: %w", err)
	}
	return c, nil
}

// Run fills the caches, stands for election and, while it leads, acts. It returns nil after ctx is
// done and everything that it started has ended; the Lease has been released then. Losing the Lease
// does not end it: it stands for election again, unless it is to resign. It must only be called while the server answers
// requests for Rollouts, and only once.
func (c *Controller) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("rollout-controller"))
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() {
		cancel()
		running.Wait()
		c.phases.forgetAll()
	}()

	running.Go(func() { c.replicaSets.RunWithContext(ctx) })
	running.Go(func() { c.pods.RunWithContext(ctx) })
	running.Go(func() { c.services.RunWithContext(ctx) })
	running.Go(func() { c.workloads.RunWithContext(ctx) })
	running.Go(func() { c.rollouts.RunWithContext(ctx) })
	if !c.waitForSync(ctx) {
		return nil
	}
	candidate, resign := context.WithCancel(ctx)
	running.Go(func() {
		select {
		case <-c.config.Resign:
			resign()
		case <-ctx.Done():
		}
	})
	for candidate.Err() == nil {
		if err := c.standForElection(candidate); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// Synced tells whether the caches are warm: whether this replica could lead. It is what readiness
// should ask.
func (c *Controller) Synced() bool {
	for _, h := range c.handlers {
		if !h.HasSynced() {
			return false
		}
	}
	return true
}

// Leading tells whether this replica is the one that acts.
func (c *Controller) Leading() bool { return c.leading.Load() != nil }

func (c *Controller) waitForSync(ctx context.Context) bool {
	var checkers []cache.DoneChecker
	for _, h := range c.handlers {
		checkers = append(checkers, h.HasSyncedChecker())
	}
	return cache.WaitFor(ctx, "the caches of Rollouts, ReplicaSets, pods, Services and Deployments", checkers...)
}

// dropManagedFields keeps out of the caches what nobody here reads. What a status write leaves out
// the server leaves alone.
func dropManagedFields(obj any) (any, error) {
	if object, err := meta.Accessor(obj); err == nil && len(object.GetManagedFields()) > 0 {
		object.SetManagedFields(nil)
	}
	return obj, nil
}
