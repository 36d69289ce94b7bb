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

// PromoteOptions are what a promote may ask for.
type PromoteOptions struct {
	// Full skips all remaining steps.
	Full bool
	// Override ends a step without the approvals that it asks for.
	Override bool
}

// Promote ends the current step of an update, and with Full all that remain; at a step that asks for
// approval it counts as one. The error is a *Refusal or a *Forbidden; r is not modified.
func Promote(r *rollouts.Rollout, o PromoteOptions, who Actor, now time.Time) (*Transition, error) {
	if err := mayPromote(r, o.Full); err != nil {
		return nil, err
	}
	asked := !o.Full && approvalNow(r) != nil || o.Full && approvalAhead(r)
	switch {
	case o.Override && !asked:
		return nil, refuse(ReasonNothingToOverride, "override is set, but nothing that would be skipped asks for approval: promote without it")
	case !asked:
		return promoted(r, o.Full, rollouts.ActionDone, now), nil
	case o.Full || o.Override:
		if !who.has(RightOverride) {
			return nil, overrideNeeded(r, o, now)
		}
		return promoted(r, o.Full, rollouts.ActionOverridden, now), nil
	}
	return approved(r, who, now)
}

// approved counts a promote as an approval, and goes on if it was the last one missing.
func approved(r *rollouts.Rollout, who Actor, now time.Time) (*Transition, error) {
	a := approvalNow(r)
	if err := mayApprove(r, a, who, now); err != nil {
		return nil, err
	}
	out := r.DeepCopy()
	if approve(out, a, who, now) {
		t := promoted(out, false, rollouts.ActionDone, now)
		t.Message += fmt.Sprintf(", approved by %d of %d", required(a), required(a))
		return t, nil
	}
	restate(out, now)
	return &Transition{Rollout: out, Outcome: rollouts.ActionApproved,
		Message: fmt.Sprintf("approved step %d/%d: %s", stepIndex(out), len(steps(out)), stillNeeded(out, a, now))}, nil
}

// promoted moves an update one step on, or past all of them.
func promoted(r *rollouts.Rollout, full bool, outcome rollouts.ActionOutcome, now time.Time) *Transition {
	out := r.DeepCopy()
	st := &out.Status
	clearPauses(st)
	voidApprovals(st)
	message := fmt.Sprintf("skipped all remaining steps of the update to revision %d", st.Revision)
	if full {
		st.PromoteFull = true
		st.Abort, st.AbortedAt = false, nil
		st.CurrentStepIndex = lastStep(out)
	} else if blueGreen(out) != nil {
		setPromoted(st)
		message = fmt.Sprintf("promoted revision %d: clients are led to it once all its pods are available", st.Revision)
	} else {
		st.CurrentStepIndex = ptr.To(stepIndex(out) + 1)
		message = fmt.Sprintf("promoted to step %d/%d", *st.CurrentStepIndex, len(steps(out)))
	}
	setCondition(st, rollouts.RolloutProgressing, corev1.ConditionUnknown, reasonResumed, "Rollout is resumed", now)
	restate(out, now)
	return &Transition{Rollout: out, Outcome: outcome, Message: message}
}

func overrideNeeded(r *rollouts.Rollout, o PromoteOptions, now time.Time) *Forbidden {
	message := fmt.Sprintf("this would skip the approval of a step of the update to revision %d", r.Status.Revision)
	if a := approvalNow(r); a != nil && !o.Full {
		message = fmt.Sprintf("step %d/%d asks for approval: %s", stepIndex(r), len(steps(r)), stillNeeded(r, a, now))
	}
	return &Forbidden{Reason: ReasonOverrideNeeded, Message: message + "; to do without needs the right to " + RightOverride.String(), Missing: ptr.To(RightOverride)}
}

// mayPromote refuses a promote that is impossible now, whoever asks.
func mayPromote(r *rollouts.Rollout, full bool) error {
	st := &r.Status
	switch {
	case !observed(r):
		return notObserved()
	case held(r):
		return refuseHeld()
	case r.Spec.Paused:
		return refuse(ReasonManuallyPaused, "spec.paused is set; resume it first")
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
	case blueGreen(r) != nil && promotedOn(r):
		return refuse(ReasonNothingInFlight, "revision %d is promoted already, and clients are led to it once all its pods are available", st.Revision)
	case blueGreen(r) != nil && len(st.PauseConditions) == 0:
		return refuse(ReasonNothingInFlight, "the update to revision %d does not wait for a promote yet: its pods are still becoming available; promote it in full to do without the wait", st.Revision)
	case blueGreen(r) != nil:
		return nil
	case len(steps(r)) == 0:
		return refuse(ReasonNothingInFlight, "the strategy has no steps, the update to revision %d goes on by itself", st.Revision)
	case stepsDone(r):
		return refuse(ReasonNothingInFlight, "all %d steps are done, the pods of revision %d are still being moved", len(steps(r)), st.Revision)
	default:
		return nil
	}
}
