// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.2 (C1, C2), 1.5 (G1, G2), 1.19 (O2, O5) and 1.1 (B18, B19); the API design ("Services").

// service is the Service of that name as last observed; nil if there is none that can be led to a revision.
func (d *decider) service(name string) *corev1.Service {
	i := slices.IndexFunc(d.observed.Services, func(s *corev1.Service) bool {
		return s.Name == name && usable(d.rollout, s)
	})
	if name == "" || i < 0 {
		return nil
	}
	return d.observed.Services[i]
}

// usable is true if a Service can be led to a revision. Where one without a selector leads somebody else decides.
func usable(r *rollouts.Rollout, s *corev1.Service) bool {
	return s.DeletionTimestamp == nil && !managedByAnother(r, s) && len(s.Spec.Selector) > 0 && foreignLabel(r, s) == ""
}

// foreignLabel is a label that the selector of a Service asks for and pods of the template do not have; empty if there
// is none. With a hash besides such a Service would lead to no pod at all.
func foreignLabel(r *rollouts.Rollout, s *corev1.Service) string {
	for _, key := range slices.Sorted(maps.Keys(s.Spec.Selector)) {
		if value, has := r.Spec.Template.Labels[key]; key != rollouts.PodTemplateHashLabel && (!has || value != s.Spec.Selector[key]) {
			return key + "=" + s.Spec.Selector[key]
		}
	}
	return ""
}

// managedByAnother is true if the selector of a Service is for another Rollout to keep.
func managedByAnother(r *rollouts.Rollout, s *corev1.Service) bool {
	by := s.Annotations[rollouts.ManagedByRolloutAnnotation]
	return by != "" && by != r.Name
}

// leadsTo is the hash of the revision that a Service leads to; empty if that is not restricted. A nil Service leads
// nowhere.
func leadsTo(s *corev1.Service) string {
	if s == nil {
		return ""
	}
	return s.Spec.Selector[rollouts.PodTemplateHashLabel]
}

// lead leads a Service to the revision with a hash, unless it does so already. Empty is no restriction.
func (d *decider) lead(s *corev1.Service, hash string) {
	if s == nil || leadsTo(s) == hash && s.Annotations[rollouts.ManagedByRolloutAnnotation] == d.rollout.Name {
		return
	}
	d.out.Services = append(d.out.Services, ServiceChange{
		Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion, Hash: hash, ManagedBy: d.rollout.Name,
	})
	d.event(false, eventSwitched, "Switched selector of Service %q from %q to %q", s.Name, leadsTo(s), hash)
}

// release gives back the Services that the Rollout managed and does not name any more: they lead to all of its pods
// again.
func (d *decider) release() {
	named := ServicesNamed(d.rollout)
	services := slices.Clone(d.observed.Services) // In no order of their own, and what is decided must not depend on it.
	slices.SortFunc(services, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range services {
		if s.Annotations[rollouts.ManagedByRolloutAnnotation] != d.rollout.Name || slices.Contains(named, s.Name) || s.DeletionTimestamp != nil {
			continue
		}
		d.releasing = true
		d.currentReleasing = d.currentReleasing || d.current != nil && leadsTo(s) == hashOf(d.current)
		if leadsTo(s) == d.rollout.Status.StableRS && d.surplusInUpdate() {
			continue
		}
		d.out.Services = append(d.out.Services, ServiceChange{Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion})
		d.event(false, eventSwitched, "Service %q is not managed any more, and leads to all pods", s.Name)
	}
}

// surplusInUpdate is true while a Service keeps clients on the stable revision of a canary update, of which there are
// more new pods than its step says, or may be: they were made for another strategy, and go before clients can reach
// them. Clients of a stable revision that has no pod for them lose nothing.
func (d *decider) surplusInUpdate() bool {
	r, current := d.rollout, poolOf(d.current)
	return blueGreen(r) == nil && updateInFlight(r) && d.stable != nil && d.selected(r.Status.StableRS) && poolOf(d.stable).available > 0 &&
		(!current.observed || current.occupies() > d.settled().canary)
}

// whileReleasing is the next sizes of a canary while a Service is still to be given back: as they are, but that new
// pods which are too many go, and stable ones come first if they are needed in their place. They stay while a Service to
// be given back leads to them: it may be the one with the clients, which the status did not come to tell of.
func (d *decider) whileReleasing(b board) (next split, older []int32) {
	next, older = split{canary: b.canary.size, stable: b.stable.size}, sizes(b.older)
	if !d.surplusInUpdate() || d.currentReleasing || d.frozen() {
		return next, older
	}
	b.goal = d.settled()
	moved, older := b.move()
	return split{canary: min(next.canary, moved.canary), stable: max(next.stable, moved.stable)}, older
}

// ServicesNamed are the names of the Services that a Rollout names: with those that carry its name as the annotation
// sluice.dev/managed-by-rollout they are what a Snapshot must contain.
func ServicesNamed(r *rollouts.Rollout) []string {
	var names []string
	for _, s := range servicesByField(r) {
		names = append(names, s.name)
	}
	return names
}

// selected is true if a Service that the Rollout manages leads to the revision with a hash: then its ReplicaSet must
// keep a pod for clients to find.
func (d *decider) selected(hash string) bool {
	return slices.ContainsFunc(d.observed.Services, func(s *corev1.Service) bool {
		return hash != "" && leadsTo(s) == hash && s.DeletionTimestamp == nil && s.Annotations[rollouts.ManagedByRolloutAnnotation] == d.rollout.Name
	})
}

// Bereft are the Services to be given back because the Rollout that managed them is gone: those that lead to none of
// the ReplicaSets that are left. While its pods are there, orphaned on purpose, a Service goes on leading to the same
// of them, until a Rollout of that name adopts both (reference section 1.1, B19).
func Bereft(services []*corev1.Service, left []*appsv1.ReplicaSet) []ServiceChange {
	var changes []ServiceChange
	for _, s := range services {
		runs := slices.ContainsFunc(left, func(rs *appsv1.ReplicaSet) bool {
			return leadsTo(s) != "" && rs.Namespace == s.Namespace && rs.Labels[rollouts.PodTemplateHashLabel] == leadsTo(s)
		})
		if !runs && s.DeletionTimestamp == nil {
			changes = append(changes, ServiceChange{Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion})
		}
	}
	return changes
}
