// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.2 (C1, C2), 1.19 (O2) and Correction 4, which is what keepServed avoids: the last pod
// behind a Service is taken only when the Service is seen to lead elsewhere.

// leadCanaryServices leads the Services of a canary to the revisions that should serve behind them, given the sizes
// that the ReplicaSets are about to get.
func (d *decider) leadCanaryServices(b board, next split) {
	canary := d.rollout.Spec.Strategy.Canary
	if canary == nil || !b.observed() || b.canary.outdated || b.stable.outdated {
		return // Until then nobody knows which pods are available.
	}
	c := &canaryServices{decider: d, board: b, next: next}
	if s := d.service(canary.StableService); s != nil {
		c.leadTo(s, c.behindStableService(s), unrestricted(d.rollout, s))
	}
	if s := d.service(canary.CanaryService); s != nil {
		c.leadTo(s, c.behindCanaryService(s), false)
	}
}

type canaryServices struct {
	*decider
	board board
	next  split
}

// behindStableService is the ReplicaSet that stableService should lead to; nil if it should stay where it is.
func (c *canaryServices) behindStableService(s *corev1.Service) *appsv1.ReplicaSet {
	switch {
	case c.rollout.Status.StableRS == "":
		return nil
	case c.serves(c.stable) && !(c.serves(c.current) && c.handsOver(s)):
		return c.stable
	case c.serves(c.current):
		return c.current // It is the stable one, or takes over from it, or alone has pods.
	default:
		return nil
	}
}

// behindCanaryService is the same for canaryService.
func (c *canaryServices) behindCanaryService(s *corev1.Service) *appsv1.ReplicaSet {
	st := &c.rollout.Status
	switch {
	case st.StableRS == "":
		return nil
	case updateInFlight(c.rollout) && !st.Abort && c.board.goal.canary > 0 && c.serves(c.current):
		return c.current
	default:
		return c.behindStableService(s)
	}
}

// serves is true if a ReplicaSet has a pod available, and surely keeps one with what is decided now. What is above its
// present size is on its way out already, whatever its next size is.
func (c *canaryServices) serves(rs *appsv1.ReplicaSet) bool {
	if rs == nil {
		return false
	}
	size := c.next.stable
	if rs == c.current {
		size = c.next.canary
	}
	st := &rs.Status
	if size = min(size, poolOf(rs).size); st.Replicas <= size {
		return st.AvailableReplicas > 0
	}
	return min(st.AvailableReplicas, size-(st.ReadyReplicas-st.AvailableReplicas)) > 0
}

// handsOver is true when the stable revision is to lose its last pod to the current one, of which then as many pods
// are available as there is room for beside that one. After the whole update, or at a weight of 100. A Service that was
// led so is not led back, while more pods are made, to the single old one.
func (c *canaryServices) handsOver(s *corev1.Service) bool {
	b := c.board
	switch {
	case b.goal.stable > 0:
		return false
	case leadsTo(s) == hashOf(c.current):
		return true
	default:
		return c.next.stable <= b.stable.floor && !c.frozen() && b.canary.available >= max(c.next.canary, 1)
	}
}

// leadTo leads a Service to a ReplicaSet. If it leads to all pods until now, which serves its clients well, the
// ReplicaSet must be able to take them all.
func (c *canaryServices) leadTo(s *corev1.Service, rs *appsv1.ReplicaSet, first bool) {
	if rs == nil {
		return
	}
	if p := poolOf(rs); first && (!p.observed || p.available < p.size) {
		return
	}
	c.lead(s, hashOf(rs))
}

// unrestricted is true if a Service leads to all pods of the Rollout, and was never led anywhere by it.
func unrestricted(r *rollouts.Rollout, s *corev1.Service) bool {
	return leadsTo(s) == "" && s.Annotations[rollouts.ManagedByRolloutAnnotation] != r.Name
}

// keepServed gives every ReplicaSet that a Service leads to a size not to be cut below: so that one of its available
// pods stays until the Service is seen to lead elsewhere. It never stands in the way of what the Service waits for:
// with room for a single pod, or none wanted, nothing is kept. Without Services nothing changes.
func (d *decider) keepServed(b *board) {
	if b.n == 0 || b.maxTotal()-b.leaving < 2 {
		return
	}
	if d.stable != nil && d.selected(hashOf(d.stable)) {
		b.stable.floor = b.stable.least()
	}
	if d.current != nil && d.stable != nil && d.selected(hashOf(d.current)) {
		b.canary.floor = b.canary.least()
	}
	// An older one makes way if nothing else has a pod, nor could get one, and no other can make way in its place.
	if b.canary.available == 0 && b.stable.available == 0 && b.room() == 0 && b.canary.size == 0 && !d.othersMakeWay() {
		return
	}
	for i, rs := range d.older {
		if d.selected(hashOf(rs)) {
			b.older[i].floor = b.older[i].least()
		}
	}
}

// othersMakeWay is true if an older ReplicaSet has pods that no Service leads to.
func (d *decider) othersMakeWay() bool {
	return slices.ContainsFunc(d.older, func(rs *appsv1.ReplicaSet) bool { return poolOf(rs).size > 0 && !d.selected(hashOf(rs)) })
}

// least is the smallest size with which an available pod surely remains, if there is one: pods that are ready and not
// yet available may stay in its place.
func (p pool) least() int32 {
	if p.available == 0 {
		return 0
	}
	return min(p.undecided()+1, p.size)
}
