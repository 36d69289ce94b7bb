// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// What the API server shows of what the controller sees: on every replica, whichever leads.

// Look is a Rollout, as its caller has read it, with the ReplicaSets, pods and Services that the caches show of it.
func (c *Controller) Look(r *rollouts.Rollout) (engine.Snapshot, error) {
	served := &v1alpha1.Rollout{}
	if err := v1alpha1.Convert_rollouts_Rollout_To_v1alpha1_Rollout(r, served, nil); err != nil {
		return engine.Snapshot{}, fmt.Errorf("converting a Rollout: %w", err)
	}
	return c.look(r, served), nil
}

// LookUp is a Rollout with its ReplicaSets, pods and Services, all as the caches show them; false if they show none.
func (c *Controller) LookUp(key types.NamespacedName) (engine.Snapshot, bool) {
	stored, exists, err := c.rollouts.GetStore().GetByKey(key.String())
	if err != nil || !exists {
		return engine.Snapshot{}, false
	}
	o := observe(stored.(*v1alpha1.Rollout))
	return c.look(o.hub, o.served), true
}

func (c *Controller) look(r *rollouts.Rollout, served *v1alpha1.Rollout) engine.Snapshot {
	replicaSets := c.replicaSetsOf(served)
	return engine.Snapshot{Rollout: r, ReplicaSets: replicaSets, Pods: c.podsOf(replicaSets), Services: c.servicesOf(r), Now: c.config.Clock.Now()}
}

// Keys are the names of all Rollouts of a namespace, or of all namespaces, as the cache shows them.
func (c *Controller) Keys(namespace string) []types.NamespacedName {
	var keys []types.NamespacedName
	if namespace != metav1.NamespaceAll {
		for _, r := range c.rolloutsIn(namespace) {
			keys = append(keys, types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
		}
		return keys
	}
	for _, key := range c.rollouts.GetStore().ListKeys() {
		if name, err := cache.ParseObjectName(key); err == nil {
			keys = append(keys, name.AsNamespacedName())
		}
	}
	return keys
}

// State says whether any replica acts on Rollouts: this one, or the one that the Lease names.
func (c *Controller) State(ctx context.Context) engine.ControllerState {
	if c.Leading() {
		return engine.ControllerState{Acting: true}
	}
	lease, err := c.config.Host.CoordinationV1().Leases(c.config.Namespace).Get(ctx, LeaseName, metav1.GetOptions{})
	what := fmt.Sprintf("the Lease %s in namespace %s", LeaseName, c.config.Namespace)
	switch {
	case apierrors.IsNotFound(err):
		return engine.ControllerState{Message: what + " does not exist: no replica of the server has been elected yet"}
	case err != nil:
		return engine.ControllerState{Message: fmt.Sprintf("%s cannot be read: %v", what, err)}
	}
	spec := lease.Spec
	if spec.RenewTime == nil || spec.LeaseDurationSeconds == nil || spec.HolderIdentity == nil || *spec.HolderIdentity == "" {
		return engine.ControllerState{Message: what + " is held by nobody: no replica of the server is elected now"}
	}
	// Twice its duration, since another replica's clock has set the time.
	alive := 2 * time.Duration(*spec.LeaseDurationSeconds) * time.Second
	if c.config.Clock.Since(spec.RenewTime.Time) < alive {
		return engine.ControllerState{Acting: true}
	}
	return engine.ControllerState{Since: spec.RenewTime.Time, Message: fmt.Sprintf("%s was last renewed by %q at %s", what, *spec.HolderIdentity, spec.RenewTime.UTC().Format(time.RFC3339))}
}
