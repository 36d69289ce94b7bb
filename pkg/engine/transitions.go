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

// The machine-readable reasons of a Refusal or a Forbidden.
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
	// ReasonHeld: the ReplicaSets carry a higher revision than the Rollout, so nothing is done.
	ReasonHeld = "Held"
	// ReasonAlreadyPaused: spec.paused is set already.
	ReasonAlreadyPaused = "AlreadyPaused"
	// ReasonNotPaused: spec.paused is not set.
	ReasonNotPaused = "NotPaused"
	// ReasonAlreadyRestarting: the same restart, or a later one, was asked for already.
	ReasonAlreadyRestarting = "AlreadyRestarting"
	// ReasonNoSuchRevision: no ReplicaSet is left of the revision to go back to.
	ReasonNoSuchRevision = "NoSuchRevision"
	// ReasonAlreadyThere: the revision to go back to is the current one.
	ReasonAlreadyThere = "AlreadyThere"
	// ReasonNothingToOverride: override was set, and no approval is asked for.
	ReasonNothingToOverride = "NothingToOverride"
	// ReasonAlreadyApproved: this user has approved the step before.
	ReasonAlreadyApproved = "AlreadyApproved"
	// ReasonRequestIDReused: the requestID was used for another call.
	ReasonRequestIDReused = "RequestIDReused"

	// ReasonNotInGroups: the user is in none of the groups that may approve.
	ReasonNotInGroups = "NotInGroups"
	// ReasonAuthorMayNotApprove: the user has changed the template, and authors do not count.
	ReasonAuthorMayNotApprove = "AuthorMayNotApprove"
	// ReasonAuthorUnknown: authors do not count, and who they are is not known.
	ReasonAuthorUnknown = "AuthorUnknown"
	// ReasonOverrideNeeded: an approval would be skipped.
	ReasonOverrideNeeded = "OverrideNeeded"
)

// observeDelay is when a request refused as NotObserved may succeed.
const observeDelay = time.Second

// Transition is what a verb does to a Rollout.
type Transition struct {
	// Rollout is what it becomes.
	Rollout *rollouts.Rollout
	// Outcome says what the verb did.
	Outcome rollouts.ActionOutcome
	// Message says it in a sentence.
	Message string
}

func done(r *rollouts.Rollout, format string, args ...any) *Transition {
	return &Transition{Rollout: r, Outcome: rollouts.ActionDone, Message: fmt.Sprintf(format, args...)}
}

// Abort takes an update back to the stable revision. It acts on what was not observed yet, and while
// paused by hand. The error is a *Refusal; r is not modified.
func Abort(r *rollouts.Rollout, now time.Time) (*Transition, error) {
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
	return done(out, "aborted the update to revision %d", st.Revision), nil
}

// abortUpdate turns an update in flight back. The condition says that it is still to be acted on.
func abortUpdate(r *rollouts.Rollout, now time.Time, message string) {
	st := &r.Status
	st.Abort = true
	st.AbortedAt = ptr.To(microAtOrAfter(now))
	st.PromoteFull = false
	st.CurrentStepIndex = firstStep(r)
	clearPauses(st)
	clearPromoted(st)
	voidApprovals(st)
	setCondition(st, rollouts.RolloutProgressing, corev1.ConditionFalse, reasonAborting, message, now)
}

// Retry starts an aborted update again at its first step. The error is a *Refusal; r is not modified.
func Retry(r *rollouts.Rollout, now time.Time) (*Transition, error) {
	switch {
	case !observed(r):
		return nil, notObserved()
	case !r.Status.Abort:
		return nil, refuse(ReasonNotAborted, "the update to revision %d was not aborted", r.Status.Revision)
	case held(r):
		return nil, refuseHeld()
	}
	out := r.DeepCopy()
	st := &out.Status
	st.Abort, st.AbortedAt = false, nil
	st.CurrentStepIndex = firstStep(out)
	clearPauses(st)
	clearPromoted(st)
	voidApprovals(st)
	setCondition(st, rollouts.RolloutProgressing, corev1.ConditionUnknown, reasonRetry, "Retrying Rollout after abort", now)
	restate(out, now)
	return done(out, "started the update to revision %d again", st.Revision), nil
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

// held is true if nothing is done, since an older copy of the store was put back.
func held(r *rollouts.Rollout) bool {
	return findCondition(&r.Status, rollouts.RolloutHeld) != nil
}

func refuseHeld() *Refusal {
	return refuse(ReasonHeld, "the rollout is held: its ReplicaSets carry a higher revision than its stored copy, which is too old")
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
