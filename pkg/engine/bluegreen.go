// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.5 (G1, G3-G5, G14, G15), 1.1 (B7, B15, B16), 4.5, 4.6 and Correction 5 (a promote ends
// the pause, also one that has an end of its own).

// blueGreen is the strategy of a Rollout; nil if it has another.
func blueGreen(r *rollouts.Rollout) *rollouts.BlueGreenStrategy { return r.Spec.Strategy.BlueGreen }

// sameStrategy is true if two Rollouts have the same kind of strategy.
func sameStrategy(a, b *rollouts.Rollout) bool { return (blueGreen(a) == nil) == (blueGreen(b) == nil) }

// promotedOn is true once the update of a blueGreen Rollout waits for nobody any more: its pods are brought to
// replicas, and clients are led to them when all of these are available. It is stored, so that what was decided holds
// whatever becomes of pods and controllers in between.
func promotedOn(r *rollouts.Rollout) bool {
	st := &r.Status
	return st.PromoteFull || st.BlueGreen != nil && st.BlueGreen.ScaleUpPreviewCheckPoint
}

// setPromoted marks the update as promoted.
func setPromoted(st *rollouts.RolloutStatus) {
	clearPauses(st)
	if st.BlueGreen == nil {
		st.BlueGreen = &rollouts.BlueGreenStatus{}
	}
	st.BlueGreen.ScaleUpPreviewCheckPoint = true
}

// clearPromoted takes back that the update was promoted: it has ended, or begins anew.
func clearPromoted(st *rollouts.RolloutStatus) {
	if st.BlueGreen != nil {
		st.BlueGreen.ScaleUpPreviewCheckPoint = false
	}
}

// previewReplicas is how many pods the new revision has before promotion.
func previewReplicas(r *rollouts.Rollout) int32 {
	n := replicas(r)
	return min(ptr.Deref(blueGreen(r).PreviewReplicaCount, n), n)
}

// promotionWait is how long an update waits once its pods are available, and false if it waits for a promote.
func promotionWait(b *rollouts.BlueGreenStrategy) (time.Duration, bool) {
	return time.Duration(ptr.Deref(b.AutoPromotionSeconds, 0)) * time.Second, ptr.Deref(b.AutoPromotionEnabled, true)
}

// takePromotion promotes the update when its wait is over, and begins that wait when its pods are available. The
// return to a revision that still has all its pods, since the time to keep them is not over, or to one within
// spec.rollbackWindow, waits for nobody.
func (d *decider) takePromotion() {
	r, st := d.rollout, &d.rollout.Status
	if r.Spec.Paused || st.Abort || !updateInFlight(r) || promotedOn(r) || d.current == nil {
		return
	}
	if d.keptByDelay(d.current) && d.whole(d.current) || d.rollsBack() {
		setPromoted(st)
		d.decisive = true
		return
	}
	began := len(st.PauseConditions) > 0
	if !began && !d.hasAvailable(d.current, previewReplicas(r)) {
		return
	}
	length, timed := promotionWait(blueGreen(r))
	if timed && (length == 0 || began && !d.now.Before(st.PauseConditions[0].StartTime.Add(length))) {
		setPromoted(st)
		d.decisive = true
		return
	}
	if !began {
		st.PauseConditions = []rollouts.PauseCondition{{Reason: rollouts.PauseReasonBlueGreenPause, StartTime: microAtOrAfter(d.now)}}
		d.event(false, eventPaused, "Paused before clients are led to revision %d%s", st.Revision, pauseEnd(length, timed))
	}
	st.ControllerPause = true
	if timed {
		d.beganByNow(&st.PauseConditions[0].StartTime)
		d.requeueIn(st.PauseConditions[0].StartTime.Add(length).Sub(d.now))
	}
}

// hasAvailable is true if a ReplicaSet has so many pods, and all of them are observed to be available, by the present
// minReadySeconds.
func (d *decider) hasAvailable(rs *appsv1.ReplicaSet, n int32) bool {
	p := d.poolNow(rs)
	return rs != nil && p.observed && !p.outdated && p.size >= n && p.available >= n
}

// fullyAvailable is true if a ReplicaSet can serve all clients.
func (d *decider) fullyAvailable(rs *appsv1.ReplicaSet) bool {
	return d.hasAvailable(rs, replicas(d.rollout))
}

// whole is true if a ReplicaSet has pods, and all that it should have are available.
func (d *decider) whole(rs *appsv1.ReplicaSet) bool {
	size := poolOf(rs).size
	return size > 0 && d.hasAvailable(rs, size)
}

// switched is true while clients are observed to be led to the promoted revision, and it is not the stable one yet.
func (d *decider) switched() bool {
	r := d.rollout
	return updateInFlight(r) && !r.Status.Abort && promotedOn(r) && d.led() == r.Status.CurrentPodHash
}

// commit makes the revision that clients are observed to be led to the stable one. When another was stable before,
// that must first carry how long its pods are kept: else a crash in between would have them taken at once.
func (d *decider) commit() {
	r, st := d.rollout, &d.rollout.Status
	switch {
	case r.Spec.Paused || st.Abort:
		return
	case st.StableRS == "":
		// The first one. It may have been replaced in the spec just after clients were led to it.
		if d.withHash(d.led()) != nil {
			d.becomeStable(d.led())
		}
	case d.switched() && (poolOf(d.stable).size == 0 || deadlineOf(d.stable) != ""):
		d.becomeStable(st.CurrentPodHash)
	}
}

func (d *decider) becomeStable(hash string) {
	st := &d.rollout.Status
	d.decisive = true
	if hash == st.CurrentPodHash {
		d.event(false, eventCompleted, "Rollout completed update to revision %d (%s): %s", st.Revision, hash, d.completionReason())
		st.PromoteFull = false
		st.TemplateAuthors = nil
		d.completed = true
	}
	st.StableRS = hash
	clearPromoted(st)
	d.assignRoles()
}

// withHash is the ReplicaSet that the Rollout controls with a hash; nil if there is none.
func (d *decider) withHash(hash string) *appsv1.ReplicaSet {
	for _, rs := range d.owned() {
		if hash != "" && hashOf(rs) == hash {
			return rs
		}
	}
	return nil
}

// previewProgress is what the condition Progressing says of the pods of an update that clients are not led to: the
// counts of the status leave them out. false if there is no such update.
func (d *decider) previewProgress() (string, bool) {
	r := d.rollout
	if blueGreen(r) == nil || !updateInFlight(r) || d.current == nil || d.led() == r.Status.CurrentPodHash {
		return "", false
	}
	return previewProgressText(d.current.Name, d.current.Status.AvailableReplicas), true
}

func previewProgressText(name string, available int32) string {
	return fmt.Sprintf("ReplicaSet %q is progressing: %s available.", name, plural(int(available), "pod"))
}

// previewProgressed is true if an update was promoted, or more of its pods, which clients are not led to, are available
// than last told.
func (d *decider) previewProgressed() bool {
	was := findCondition(d.stored, rollouts.RolloutProgressing)
	if _, tells := d.previewProgress(); !tells || was == nil {
		return false
	}
	stored := *d.rollout
	stored.Status = *d.stored
	if promotedOn(d.rollout) && !promotedOn(&stored) {
		return true
	}
	available := d.current.Status.AvailableReplicas
	for fewer := range available {
		if was.Message == previewProgressText(d.current.Name, fewer) {
			return true
		}
	}
	return (was.Reason == reasonCreated || was.Reason == reasonFound) && available > 0
}
