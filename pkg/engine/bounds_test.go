// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// checkBounds holds a write against the bounds of an update.
func checkBounds(c *simulator.Cluster, fail func(format string, args ...any), before, after *appsv1.ReplicaSet) {
	n, surge, unavailable := bounds(c.Rollout)
	var pods, available int32
	for _, rs := range c.ReplicaSets() {
		if !isOwned(c, rs) {
			continue
		}
		pods += int32(len(c.PodsOf(rs)))
		if rs.DeletionTimestamp == nil {
			pods += max(0, *rs.Spec.Replicas-int32(len(c.PodsOf(rs))))
			available += c.Remaining(rs)
		}
	}
	if after == nil {
		if len(c.PodsOf(before)) > 0 || *before.Spec.Replicas > 0 {
			fail("deleted ReplicaSet %s, which has pods", before.Name)
		}
		return
	}
	var was, wasAvailable int32
	if before != nil {
		same := before.DeepCopy()
		same.Spec.MinReadySeconds = after.Spec.MinReadySeconds
		was, wasAvailable = *before.Spec.Replicas, c.Remaining(same)
	}
	if now := *after.Spec.Replicas; now > was && pods > n+surge {
		fail("raised %s from %d to %d, so that %d pods exist: more than replicas %d + maxSurge %d", after.Name, was, now, pods, n, surge)
	}
	if now := c.Remaining(after); now < wasAvailable && available < n-unavailable {
		fail("cut %s from %d to %d, so that %d pods are available: fewer than replicas %d - maxUnavailable %d", after.Name, was, *after.Spec.Replicas, available, n, unavailable)
	}
}

// bounds resolves maxSurge and maxUnavailable, independently of the engine.
func bounds(r *rollouts.Rollout) (n, surge, unavailable int32) {
	n = *r.Spec.Replicas
	scaled := func(v *intstr.IntOrString, up bool) int32 {
		i, err := intstr.GetScaledValueFromIntOrPercent(v, int(n), up)
		if err != nil {
			panic(err)
		}
		return int32(i)
	}
	surge, unavailable = scaled(r.Spec.Strategy.Canary.MaxSurge, true), scaled(r.Spec.Strategy.Canary.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return n, surge, min(unavailable, n)
}
