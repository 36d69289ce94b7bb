// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 4.3 (the condition Progressing) and 4.4 (the progress deadline).

// defaultProgressDeadlineSeconds is for a Rollout that was stored without one.
const defaultProgressDeadlineSeconds int32 = 600

// judgeDeadline sees whether there was progress, and if there was none for too long. If the Rollout asks
// for it an update in flight is then aborted, in this decision; a first deployment never is.
func (d *decider) judgeDeadline() {
	r := d.rollout
	d.progressed = d.advanced || d.completed || countsProgressed(d.stored, &r.Status) || d.restartEnded() || d.restart != nil && d.restart.moved || d.previewProgressed()
	if d.exceedsDeadline() && d.waitedForUs() {
		d.progressed = true
	}
	if d.timedOut = d.exceedsDeadline(); d.timedOut && r.Spec.ProgressDeadlineAbort && updateInFlight(r) {
		why := fmt.Sprintf("%s: %s", abortedUpdateTo(&r.Status), timeoutMessage(r))
		abortUpdate(r, d.now, why)
		d.timedOut, d.decisive = false, true
	}
}

// countsProgressed is true if pods came nearer to what is wanted than last recorded: another number is
// updated, fewer are old, more are ready or available.
func countsProgressed(was, is *rollouts.RolloutStatus) bool {
	return is.UpdatedReplicas != was.UpdatedReplicas ||
		is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas ||
		is.AvailableReplicas > was.AvailableReplicas ||
		is.BlueGreen != nil && was.BlueGreen != nil && is.BlueGreen.ActiveSelector != was.BlueGreen.ActiveSelector
}

// exceedsDeadline is true if pods should be moving and have not for the time of the deadline. Once true
// it stays so until there is progress, or nothing left to wait for.
func (d *decider) exceedsDeadline() bool {
	was := findCondition(d.stored, rollouts.RolloutProgressing)
	if phase, _ := movement(d.rollout); phase != rollouts.RolloutPhaseProgressing || d.rollout.Status.Abort || d.progressed || d.awaitsEviction() || was == nil {
		return false
	}
	switch was.Reason {
	case reasonDeadlineExceeded:
		return true
	case reasonCreated, reasonFound, reasonUpdated, reasonNotAvailable:
		return !d.now.Before(was.LastUpdateTime.Add(progressDeadline(d.rollout)))
	default:
		return false // The clock stood still, and starts with this decision.
	}
}

// awaitsEviction is true while a restart waits for a budget: that is not the update's fault, so the clock stands
// still. When pods go again, that counts as progress. If none may go anyway, since a new one is missing, it is.
func (d *decider) awaitsEviction() bool {
	return d.restart != nil && d.restart.refused && len(d.evictable()) > 0
}

// waitedForUs is true if pods can be moved that could be moved long since: nobody decided meanwhile, as while
// the server was down, and the update is not to blame. It is, if the cluster has refused to move them, or if
// its deadline was called exceeded before.
func (d *decider) waitedForUs() bool {
	was := findCondition(d.stored, rollouts.RolloutProgressing)
	if was.Reason == reasonDeadlineExceeded || findCondition(d.stored, rollouts.RolloutReplicaFailure) != nil || d.frozen() {
		return false
	}
	if blueGreen(d.rollout) != nil {
		return !d.blueGreenSettled()
	}
	b := d.board()
	next, older := b.move()
	return d.current == nil || next != (split{b.canary.size, b.stable.size}) || !slices.Equal(older, sizes(b.older))
}

func progressDeadline(r *rollouts.Rollout) time.Duration {
	return time.Duration(ptr.Deref(r.Spec.ProgressDeadlineSeconds, defaultProgressDeadlineSeconds)) * time.Second
}

// setProgressing sets the condition Progressing, with lastUpdateTime moved on by every progress, and asks
// to be called when the deadline is due.
func (d *decider) setProgressing() {
	st := &d.rollout.Status
	status, reason, message := d.progressing()
	setCondition(st, rollouts.RolloutProgressing, status, reason, message, d.now)
	if phase, _ := movement(d.rollout); phase != rollouts.RolloutPhaseProgressing || status != corev1.ConditionTrue {
		return
	}
	c := findCondition(st, rollouts.RolloutProgressing)
	if d.progressed {
		c.LastUpdateTime = microAtOrAfter(d.now)
	}
	d.beganByNow(&c.LastUpdateTime)
	if d.awaitsEviction() {
		return
	}
	d.requeueIn(c.LastUpdateTime.Add(progressDeadline(d.rollout)).Sub(d.now))
}

// progressing is what the condition Progressing says; the events that go with a change of it are recorded.
func (d *decider) progressing() (corev1.ConditionStatus, string, string) {
	r, st := d.rollout, &d.rollout.Status
	was := ptr.Deref(findCondition(d.stored, rollouts.RolloutProgressing), rollouts.RolloutCondition{})
	name := replicaSetName(r, st.CurrentPodHash)
	if d.current != nil {
		name = d.current.Name
	}
	phase, _ := movement(r)
	switch {
	case st.Abort:
		// The verb has told of itself.
		if was.Reason != reasonAborted && was.Reason != reasonAborting {
			d.event(true, eventAborted, "%s", abortMessage(st))
		}
		return corev1.ConditionFalse, reasonAborted, abortMessage(st)
	case phase == rollouts.RolloutPhasePaused:
		return corev1.ConditionUnknown, reasonPaused, "Rollout is paused"
	case phase == rollouts.RolloutPhaseHealthy:
		return corev1.ConditionTrue, reasonComplete, fmt.Sprintf("ReplicaSet %q has successfully progressed.", name)
	case d.timedOut:
		if was.Reason != reasonDeadlineExceeded {
			d.event(true, eventDeadlineExceeded, "%s", timeoutMessage(r))
		}
		return corev1.ConditionFalse, reasonDeadlineExceeded, timeoutMessage(r)
	case st.StableRS == st.CurrentPodHash && st.AvailableReplicas < replicas(r):
		return corev1.ConditionTrue, reasonNotAvailable, "Rollout does not have minimum availability"
	case d.out.Create != nil:
		return corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", name)
	case was.Type == "":
		return corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", name)
	case (was.Reason == reasonCreated || was.Reason == reasonFound) && !d.progressed:
		return was.Status, was.Reason, was.Message
	default:
		if text, tells := d.previewProgress(); tells {
			return corev1.ConditionTrue, reasonUpdated, text
		}
		return corev1.ConditionTrue, reasonUpdated, fmt.Sprintf("ReplicaSet %q is progressing.", name)
	}
}

func timeoutMessage(r *rollouts.Rollout) string {
	return fmt.Sprintf("ReplicaSet %q has timed out progressing.", replicaSetName(r, r.Status.CurrentPodHash))
}
