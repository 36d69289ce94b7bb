// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.5 (G1, G2, G14), 1.19 (O2) and 1.1 (B7: what is paused by hand is not switched).

// active is the Service that clients use, if it is there and the Rollout's own; nil otherwise.
func (d *decider) active() *corev1.Service { return d.service(blueGreen(d.rollout).ActiveService) }

// led is the hash of the revision that clients are observed to be led to; empty if they are led to none in particular.
func (d *decider) led() string {
	s := d.active()
	if s == nil || s.Annotations[rollouts.ManagedByRolloutAnnotation] != d.rollout.Name {
		return ""
	}
	return leadsTo(s)
}

// ledElsewhere is true if clients are observed to be led to another revision than that of a ReplicaSet. Only then it
// surely serves none of them.
func (d *decider) ledElsewhere(rs *appsv1.ReplicaSet) bool {
	return d.led() != "" && d.led() != hashOf(rs)
}

// serving is the ReplicaSet that clients are led to; if they are led to none in particular, the one that they should be.
func (d *decider) serving() *appsv1.ReplicaSet {
	if rs := d.withHash(d.led()); rs != nil {
		return rs
	}
	if updateInFlight(d.rollout) && d.stable != nil {
		return d.stable
	}
	return d.current
}

// observeServices writes down where the Services of blueGreen lead.
func (d *decider) observeServices() {
	st := &d.rollout.Status
	if blueGreen(d.rollout) == nil {
		st.BlueGreen = nil
		return
	}
	if st.BlueGreen == nil {
		st.BlueGreen = &rollouts.BlueGreenStatus{}
	}
	st.BlueGreen.ActiveSelector = d.led()
	st.BlueGreen.PreviewSelector = leadsTo(d.service(blueGreen(d.rollout).PreviewService))
}

// leadServices leads the Services of blueGreen to where they belong. An abort does so while paused by hand too.
func (d *decider) leadServices() {
	r := d.rollout
	if blueGreen(r) == nil || !r.Status.Abort && (r.Spec.Paused || d.current == nil && d.currentIsLeaving()) {
		return
	}
	if s, to := d.active(), d.activeTarget(); s != nil && to != nil && (leadsTo(s) == hashOf(to) || d.mayLead(s, to)) {
		before := len(d.out.Services)
		d.lead(s, hashOf(to))
		// What leads clients must rest on the Rollout as it is: a controller that was held up must not lead them to
		// a revision that was given up meanwhile. So the status goes first, even if it says nothing new.
		d.fenced = len(d.out.Services) > before
	}
	if to := d.previewTarget(); to != nil {
		d.lead(d.service(blueGreen(r).PreviewService), hashOf(to))
	}
}

// activeTarget is the ReplicaSet that clients belong to: the stable one, until the new one was promoted and can serve
// all of them. nil if it is gone.
func (d *decider) activeTarget() *appsv1.ReplicaSet {
	r := d.rollout
	switch {
	case !updateInFlight(r):
		return d.current
	case !r.Status.Abort && promotedOn(r) && (d.switched() || d.fullyAvailable(d.current)):
		return d.current
	default:
		return d.stable
	}
}

// mayLead is true if clients may be led from where they are to a ReplicaSet: if it can serve all of them; or if it is
// the stable one, and they are led to another that has no more available pods. With 0 replicas there is nothing to
// serve with, but pods that are still there are not left behind.
func (d *decider) mayLead(s *corev1.Service, to *appsv1.ReplicaSet) bool {
	from := d.withHash(leadsTo(s))
	empty := from == nil || poolOf(from).observed && from.Status.AvailableReplicas == 0
	if replicas(d.rollout) == 0 && !empty {
		return false
	}
	if d.fullyAvailable(to) {
		return true
	}
	return leadsTo(s) != "" && hashOf(to) == d.rollout.Status.StableRS && (from == nil || d.poolNow(to).holds() >= from.Status.AvailableReplicas)
}

// previewTarget is the ReplicaSet that previewService belongs to: the new one as soon as it exists, the stable one
// when no update is in flight; nil if it is gone.
func (d *decider) previewTarget() *appsv1.ReplicaSet {
	if updateInFlight(d.rollout) && d.rollout.Status.Abort {
		return d.stable
	}
	return d.current
}
