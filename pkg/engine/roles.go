// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: architecture, "Storage and what may never happen" (who is held, what is adopted), reference
// sections 0.7 (current, stable, older), 1.1 (B6), 2.5.1 and 4.6.

func newDecider(s Snapshot) *decider {
	r := *s.Rollout
	r.Status = *s.Rollout.Status.DeepCopy()
	d := &decider{now: s.Now, stored: &s.Rollout.Status, rollout: &r, observed: s}
	d.sort(s.ReplicaSets)
	return d
}

// sort tells the ReplicaSets apart. One that another controller owns is left out, whoever put it there.
func (d *decider) sort(rss []*appsv1.ReplicaSet) {
	for _, rs := range rss {
		owner := metav1.GetControllerOfNoCopy(rs)
		switch {
		case owner != nil && owner.UID != d.rollout.UID:
		case rs.DeletionTimestamp != nil:
			d.leaving = append(d.leaving, rs)
		case owner == nil:
			d.orphans = append(d.orphans, rs)
		default:
			d.older = append(d.older, rs)
		}
	}
	slices.SortFunc(d.leaving, newestFirst)
	slices.SortFunc(d.orphans, newestFirst)
	slices.SortFunc(d.older, newestFirst)
	d.assignRoles()
}

// assignRoles picks the current and the stable ReplicaSet out of those that the Rollout controls.
func (d *decider) assignRoles() {
	owned := d.owned()
	d.current, d.stable, d.older = nil, nil, nil
	st := &d.rollout.Status
	for _, rs := range owned {
		switch hash := hashOf(rs); {
		case hash == st.CurrentPodHash && d.current == nil:
			d.current = rs
		case hash == st.StableRS && hash != st.CurrentPodHash && d.stable == nil:
			d.stable = rs
		default:
			d.older = append(d.older, rs)
		}
	}
}

// owned are all ReplicaSets that the Rollout controls and that are not being deleted, newest revision first.
func (d *decider) owned() []*appsv1.ReplicaSet {
	owned := slices.Clone(d.older)
	for _, rs := range []*appsv1.ReplicaSet{d.current, d.stable} {
		if rs != nil {
			owned = append(owned, rs)
		}
	}
	slices.SortFunc(owned, newestFirst)
	return owned
}

// newerThanStore is a ReplicaSet of a revision that the stored Rollout does not know of: an older copy of
// the store was put back, and must not roll production back.
func (d *decider) newerThanStore() *appsv1.ReplicaSet {
	if owned := d.owned(); len(owned) > 0 && revisionOf(owned[0]) > d.rollout.Status.Revision {
		return owned[0]
	}
	return nil
}

// hold leaves everything as it is and says why.
func (d *decider) hold() {
	r, rs := d.rollout, d.newerThanStore()
	if findCondition(d.stored, rollouts.RolloutHeld) == nil {
		d.event(true, eventHeld, "ReplicaSet %q carries revision %d, the Rollout only %d: nothing is done", rs.Name, revisionOf(rs), r.Status.Revision)
	}
	message := "ReplicaSet " + rs.Name + " carries a higher revision than the Rollout, whose stored copy is too old: nothing is scaled, created or deleted. Restore the newest copy of the store; or give up the stored copy: kubectl sluice detach " + r.Name + ", which keeps the pods, and apply the manifest again"
	setCondition(&r.Status, rollouts.RolloutHeld, corev1.ConditionTrue, reasonNewerRevision, message, d.now)
	r.Status.ObservedGeneration = r.Generation
	d.count()
	setPhase(r)
	setStanding(&r.Status, d.now)
}

// adopt takes ReplicaSets that have no controller. A revision that one of them carries counts first, so
// that it never is higher than that of the Rollout.
func (d *decider) adopt() {
	st := &d.rollout.Status
	if newest := d.orphans[0]; revisionOf(newest) > st.Revision {
		st.Revision = revisionOf(newest)
		if hashOf(newest) != st.CurrentPodHash {
			st.Revision++
		}
		return
	}
	for _, rs := range d.orphans {
		d.out.Adopt = append(d.out.Adopt, refTo(rs))
		d.event(false, eventAdopted, "Adopted ReplicaSet %q of revision %d", rs.Name, revisionOf(rs))
	}
}

// findCurrent looks, when no ReplicaSet has the hash of the current revision, for one that runs its
// template under another hash. So what is compared before a ReplicaSet is created is what runs now.
func (d *decider) findCurrent() {
	removeCondition(&d.rollout.Status, rollouts.RolloutHeld)
	if d.current != nil || d.currentIsLeaving() {
		return
	}
	r := d.rollout
	if rs := findTemplate(r, &r.Spec.Template, d.owned()); rs != nil {
		r.Status.CurrentPodHash = hashOf(rs)
		if !updateInFlight(r) {
			r.Status.CurrentStepIndex = firstStep(r)
			r.Status.Abort, r.Status.AbortedAt = false, nil
			clearPauses(&r.Status)
			clearPromoted(&r.Status)
			voidApprovals(&r.Status)
		}
		d.decisive = true
		d.assignRoles()
	}
}

// currentIsLeaving is true while the ReplicaSet of the current revision is being deleted: its name is
// taken until it is gone.
func (d *decider) currentIsLeaving() bool {
	return slices.ContainsFunc(d.leaving, func(rs *appsv1.ReplicaSet) bool {
		return hashOf(rs) == d.rollout.Status.CurrentPodHash
	})
}

// complete makes the current revision the stable one when every step is done, all pods run it and are
// available, and none of another revision is.
func (d *decider) complete() {
	if blueGreen(d.rollout) != nil {
		d.commit()
		return
	}
	r, st := d.rollout, &d.rollout.Status
	if r.Spec.Paused || st.Abort || st.StableRS == st.CurrentPodHash {
		return
	}
	if updateInFlight(r) && !st.PromoteFull && !stepsDone(r) || !d.settledAt(split{canary: replicas(r)}) {
		return
	}
	d.event(false, eventCompleted, "Rollout completed update to revision %d (%s): %s", st.Revision, st.CurrentPodHash, d.completionReason())
	st.StableRS = st.CurrentPodHash
	st.PromoteFull = false
	st.CurrentStepIndex = lastStep(r)
	st.TemplateAuthors = nil
	voidApprovals(st)
	d.completed = true
	d.assignRoles()
}

// settledAt is true if the pods of both sides stand at a split (2.4): those of the current revision
// available, those of the stable one created, and none older available.
func (d *decider) settledAt(at split) bool { return d.settledWith(at, at.canary) }

// settledWith is the same if so many available pods of the current revision are enough.
func (d *decider) settledWith(at split, available int32) bool {
	c, s := d.poolNow(d.current), d.poolNow(d.stable)
	if d.current == nil || !c.observed || c.outdated || c.size != at.canary || c.available < available {
		return false
	}
	if d.stable != nil && (!s.observed || s.size != at.stable || s.pods != at.stable) {
		return false
	}
	return !slices.ContainsFunc(d.older, func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.AvailableReplicas > 0 || !poolOf(rs).observed
	})
}

// cleanUp deletes old ReplicaSets without pods beyond the history limit, oldest first.
func (d *decider) cleanUp() {
	keep := ptr.Deref(d.rollout.Spec.RevisionHistoryLimit, defaultRevisionHistoryLimit)
	for _, rs := range d.older {
		if p := poolOf(rs); p.size != 0 || p.pods != 0 || !p.observed || d.selected(hashOf(rs)) {
			continue
		}
		if keep--; keep < 0 {
			d.out.Delete = append(d.out.Delete, refTo(rs))
		}
	}
}

// defaultRevisionHistoryLimit is for a Rollout that was stored without one.
const defaultRevisionHistoryLimit int32 = 10

func (d *decider) completionReason() string {
	r := d.rollout
	switch n := len(steps(r)); {
	case r.Status.StableRS == "":
		return "Initial deploy"
	case r.Status.PromoteFull:
		return "Full promotion requested"
	case d.rollsBack():
		return "Rollback within window"
	case blueGreen(r) != nil:
		return "Completed blue-green update"
	case n == 0:
		return "Completed rolling update"
	default:
		return "Completed all " + plural(n, "canary step")
	}
}
