// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Source: reference section 1.1 (B19).

// farewell is what is decided for a Rollout that is being deleted. Its pods are for the garbage collector now. If it
// waits for them to be gone first, the Services that it manages are given back meanwhile. It has no finalizer of its
// own, which would keep it there when nobody acts on it any more: deleted in the background it is gone at once, and its
// Services are given back when its ReplicaSets are gone (see Bereft), unless a Rollout of that name takes them over. If
// pods are orphaned, the Services stay on those that they lead to.
func farewell(s Snapshot) Decision {
	if !slices.Contains(s.Rollout.Finalizers, metav1.FinalizerDeleteDependents) {
		return Decision{}
	}
	d := newDecider(s)
	d.rollout.Spec.Strategy = rollouts.RolloutStrategy{} // It names no Service any more.
	d.release()
	return d.out
}
