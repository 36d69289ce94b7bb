// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: the API design ("Verbs are subresources", "Cells that are easy to forget"), reference sections
// 4.6 (abort, retry, full promotion) and 7.3 (why a promote must never skip a step, nor do nothing).

// The machine-readable reasons of a Refusal.
const (
	// ReasonNothingInFlight: there is no update to promote or to abort, or no step of it is left.
	ReasonNothingInFlight = "NothingInFlight"
	// ReasonNotObserved: the last change of the spec is not observed yet; ask again soon.
	ReasonNotObserved = "NotObserved"
	// ReasonManuallyPaused: spec.paused is set.
	ReasonManuallyPaused = "ManuallyPaused"
	// ReasonAborted: the update was aborted; retry it, or promote in full.
	ReasonAborted = "Aborted"
	// ReasonNoStable: there is no stable revision to go back to.
	ReasonNoStable = "NoStable"
	// ReasonNotAborted: there is no aborted update to retry.
	ReasonNotAborted = "NotAborted"
	// ReasonAlreadyAborted: the update was aborted before.
	ReasonAlreadyAborted = "AlreadyAborted"
	// ReasonAlreadyPromotingFull: the update skips all its remaining steps already.
	ReasonAlreadyPromotingFull = "AlreadyPromotingFull"
)

// observeDelay is when a request refused as NotObserved may succeed.
const observeDelay = time.Second

// Promote ends the current step of an update, and with full all that remain. The error is a *Refusal; r is
// not modified.
func Promote(r *rollouts.Rollout, full bool, now time.Time) (*rollouts.Rollout, error) {
	if err := mayPromote(r, full); err != nil {
		return nil, err
	}
	out := r.DeepCopy()
	st := &out.Status
	clearPauses(st)
	if full {
		st.PromoteFull = true
		st.Abort, st.AbortedAt = false, nil
		st.CurrentStepIndex = lastStep(out)
	} else {
		st.CurrentStepIndex = ptr.To(stepIndex(out) + 1)
	}
	setCondition(st, rollouts.RolloutProgressing, corev1.ConditionUnknown, reasonResumed, "Rollout is resumed", now)
	restate(out, now)
	return out, nil
}

// mayPromote refuses a promote that is impossible now.
func mayPromote(r *rollouts.Rollout, full bool) error {
	st := &r.Status
	switch {
	case !observed(r):
		return notObserved()
	case r.Spec.Paused:
		return refuse(ReasonManuallyPaused, "spec.paused is set; unset it first")
	case st.StableRS == "":
		return refuse(ReasonNothingInFlight, "a first deployment takes no steps, revision %d goes to 100 %% by itself", st.Revision)
	case !updateInFlight(r):
		return refuse(ReasonNothingInFlight, "no update is in flight, revision %d is the stable one", st.Revision)
	case st.PromoteFull:
		return refuse(ReasonAlreadyPromotingFull, "the update to revision %d skips all its remaining steps already", st.Revision)
	case full:
		return nil
	case st.Abort:
		return refuse(ReasonAborted, "the update to revision %d was aborted; retry it, or promote it in full", st.Revision)
	case len(steps(r)) == 0:
		return refuse(ReasonNothingInFlight, "the strategy has no steps, the update to revision %d goes on by itself", st.Revision)
	case stepsDone(r):
		return refuse(ReasonNothingInFlight, "all %d steps are done, the pods of revision %d are still being moved", len(steps(r)), st.Revision)
	default:
		return nil
	}
}

// Abort takes an update back to the stable revision. It acts on what was not observed yet, and while
// paused by hand. The error is a *Refusal; r is not modified.
func Abort(r *rollouts.Rollout, now time.Time) (*rollouts.Rollout, error) {
	st := &r.Status
	switch {
	case st.StableRS == "":
		return nil, refuse(ReasonNoStable, "no revision has been fully available yet, so there is none to go back to; change spec.template instead")
	case !updateInFlight(r):
		return nil, refuse(ReasonNothingInFlight, "no update is in flight, revision %d is the stable one", st.Revision)
	case st.Abort:
		return nil, refuse(ReasonAlreadyAborted, "the update to revision %d was aborted already", st.Revision)
	}
	out := r.DeepCopy()
	abortUpdate(out, now, abortedUpdateTo(st))
	restate(out, now)
	return out, nil
}

// abortUpdate turns an update in flight back. The condition says that it is still to be acted on.
func abortUpdate(r *rollouts.Rollout, now time.Time, message string) {
	st := &r.Status
	st.Abort = true
	st.AbortedAt = ptr.To(microAtOrAfter(now))
	st.PromoteFull = false
	st.CurrentStepIndex = firstStep(r)
	clearPauses(st)
	setCondition(st, rollouts.RolloutProgressing, corev1.ConditionFalse, reasonAborting, message, now)
}

// Retry starts an aborted update again at its first step. The error is a *Refusal; r is not modified.
func Retry(r *rollouts.Rollout, now time.Time) (*rollouts.Rollout, error) {
	switch {
	case !observed(r):
		return nil, notObserved()
	case !r.Status.Abort:
		return nil, refuse(ReasonNotAborted, "the update to revision %d was not aborted", r.Status.Revision)
	}
	out := r.DeepCopy()
	st := &out.Status
	st.Abort, st.AbortedAt = false, nil
	st.CurrentStepIndex = firstStep(out)
	clearPauses(st)
	setCondition(st, rollouts.RolloutProgressing, corev1.ConditionUnknown, reasonRetry, "Retrying Rollout after abort", now)
	restate(out, now)
	return out, nil
}

// restate brings phase, message and conditions in line with what a verb changed, so that its reply is true
// before the controller has looked.
func restate(r *rollouts.Rollout, now time.Time) {
	setPhase(r)
	setWeights(r)
	setStanding(&r.Status, now)
}

// observed is true if the status speaks of the present spec.
func observed(r *rollouts.Rollout) bool {
	return r.Status.ObservedGeneration >= r.Generation
}

func notObserved() *Refusal {
	return &Refusal{
		Reason:     ReasonNotObserved,
		Message:    "the last change of the spec is not observed yet: try again",
		RetryAfter: observeDelay,
	}
}

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
