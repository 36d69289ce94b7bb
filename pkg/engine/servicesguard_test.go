// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// guardServices looks at every write of the controller, and fails if one leaves a Service that the Rollout manages with
// a revision of which no pod is available while another has one: neither may it be led there, nor may that revision
// lose its last pod. Judged by what becomes of the pods in truth. Exempt is what cannot be otherwise: no replicas, and
// room for no more than one pod. The bounds of an update hold as well.
func guardServices(c *simulator.Cluster, fail func(format string, args ...any)) {
	c.OnLead = func(_, after *corev1.Service) {
		hash := after.Spec.Selector[rollouts.PodTemplateHashLabel]
		if rs := c.Find(hash); hash != "" && (rs == nil || c.Remaining(rs) == 0) {
			fail("Service %s was led to revision %s, which has no pod", after.Name, hash)
		}
	}
	c.OnWrite = func(before, after *appsv1.ReplicaSet) {
		checkBounds(c, fail, before, after)
		n, surge, _ := bounds(c.Rollout)
		// What is not cut loses no pod, though a change of minReadySeconds may make it wait for its pods again.
		if before == nil || after == nil || *after.Spec.Replicas >= *before.Spec.Replicas || n == 0 || n+surge-leavingPods(c) < 2 || c.Remaining(before) == 0 || c.Remaining(after) > 0 {
			return
		}
		others := slices.ContainsFunc(c.ReplicaSets(), func(rs *appsv1.ReplicaSet) bool {
			return isOwned(c, rs) && rs.DeletionTimestamp == nil && rs.UID != after.UID && c.Remaining(rs) > 0
		})
		for _, s := range c.Snapshot().Services {
			if s.Spec.Selector[rollouts.PodTemplateHashLabel] == after.Labels[rollouts.PodTemplateHashLabel] && s.Annotations[rollouts.ManagedByRolloutAnnotation] == c.Rollout.Name && others {
				fail("%s lost its last pod, and Service %s leads there", after.Name, s.Name)
			}
		}
	}
}

func isOwned(c *simulator.Cluster, rs *appsv1.ReplicaSet) bool {
	owner := metav1.GetControllerOf(rs)
	return owner != nil && owner.UID == c.Rollout.UID
}

// leavingPods is how much room ReplicaSets that are being deleted still take.
func leavingPods(c *simulator.Cluster) int32 {
	var n int32
	for _, rs := range c.ReplicaSets() {
		if isOwned(c, rs) && rs.DeletionTimestamp != nil {
			n += max(int32(len(c.PodsOf(rs))), *rs.Spec.Replicas)
		}
	}
	return n
}

// canaryLeads checks which ReplicaSets the two Services of a canary lead to, stableService first, by the order in which the
// ReplicaSets were made, from 1: "1 2"; 0 is all pods.
func (w *world) canaryLeads(stable, canary int) {
	w.t.Helper()
	got := map[string]int{}
	for _, name := range []string{"stable", "canary"} {
		got[name] = 1 + slices.IndexFunc(w.ReplicaSets(), func(rs *appsv1.ReplicaSet) bool {
			return rs.Labels[rollouts.PodTemplateHashLabel] == w.LeadsTo(name)
		})
	}
	if got["stable"] != stable || got["canary"] != canary {
		w.t.Fatalf("stable leads to %d and canary to %d, want %d and %d", got["stable"], got["canary"], stable, canary)
	}
}

// withServices names the two Services of a canary.
func withServices(r *rollouts.Rollout) *rollouts.Rollout {
	r.Spec.Strategy.Canary.StableService, r.Spec.Strategy.Canary.CanaryService = "stable", "canary"
	return r
}

// served is a world whose first revision is Healthy behind both Services, and whose every write is looked at.
func served(t *testing.T, r *rollouts.Rollout) *world {
	w := newWorld(t, withServices(r))
	w.AddService("stable")
	w.AddService("canary")
	guardServices(w.Cluster, t.Fatalf)
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.canaryLeads(1, 1)
	return w
}
