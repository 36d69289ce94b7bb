// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.1 (B11), 3.4, 4.6 (fast rollback) and 7.13; the API design, "Approvals" (skipping one by
// rollbackWindow needs override). A revision that never was the stable one is none to go back to, however recent.

// windowFor is the smallest spec.rollbackWindow.revisions with which going to the revision of a ReplicaSet is a return
// to a recent one: one more than the number of ReplicaSets made between it and that of the stable revision. It is 0 if
// that is no return, since the revision is not older, or was never stable.
func windowFor(r *rollouts.Rollout, rs *appsv1.ReplicaSet, rss []*appsv1.ReplicaSet) int32 {
	at := slices.IndexFunc(rss, func(other *appsv1.ReplicaSet) bool {
		return mine(r, other) && other.DeletionTimestamp == nil && hashOf(other) != "" && hashOf(other) == r.Status.StableRS
	})
	if at < 0 || rs == nil || rs.Annotations[rollouts.OutcomeAnnotation] != rollouts.OutcomePromoted || !madeBefore(rs, rss[at]) {
		return 0
	}
	window := int32(1)
	for _, other := range rss {
		if mine(r, other) && madeBefore(rs, other) && madeBefore(other, rss[at]) {
			window++
		}
	}
	return window
}

// madeBefore tells which of two ReplicaSets was made first. Hosts note that in whole seconds; within one, the number of
// the revision tells.
func madeBefore(a, b *appsv1.ReplicaSet) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return revisionOf(a) < revisionOf(b)
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

// windowOf is how far back spec.rollbackWindow reaches; 0 without one.
func windowOf(r *rollouts.Rollout) int32 {
	if r.Spec.RollbackWindow == nil {
		return 0
	}
	return r.Spec.RollbackWindow.Revisions
}

// within is true if spec.rollbackWindow is as large as that.
func within(r *rollouts.Rollout, size int32) bool { return size > 0 && size <= windowOf(r) }

// skipsSteps is true if a changed Rollout returns to a recent revision by a new template: then steps, pauses and
// approvals do not apply.
func skipsSteps(old, new *rollouts.Rollout, res *Resolution) bool {
	return res != nil && res.Hash != old.Status.CurrentPodHash && res.Hash != old.Status.StableRS && within(new, res.Window)
}

// RightsToReturn are the rights that a change of the template needs, if by spec.rollbackWindow it skips the approvals
// that steps ask for: besides those of RightsToEdit. res says which revision the new template is; nil if spec.template
// did not change. nil if there is none.
func RightsToReturn(old, new *rollouts.Rollout, res *Resolution) []NeededRight {
	if !skipsSteps(old, new, res) {
		return nil
	}
	for _, g := range gates(steps(new)) {
		if g.approval != nil {
			return []NeededRight{{Right: RightOverride, Field: "spec.rollbackWindow",
				Message: fmt.Sprintf("by this window the return to an earlier revision skips the approval that step %d asks for", g.index)}}
		}
	}
	return nil
}

// rollsBack is true while the update in flight is a return to a recent revision.
func (d *decider) rollsBack() bool {
	return updateInFlight(d.rollout) && within(d.rollout, windowFor(d.rollout, d.current, d.owned()))
}
