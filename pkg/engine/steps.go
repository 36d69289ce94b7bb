// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.1 (B15-B17: when steps apply and when they start again), 2.4 (when a
// step is done), 4.5 (pauses) and Corrections 1 and 2 (a duration of 0, and never ending early).

// PauseDuration reads the duration of a pause: a number of seconds, the same as a string, or a string
// with units as in "1h30m". A nil duration is 0; that the pause then has no end is for the caller to see.
// Anything else, and negative values, are an error that says what is allowed.
func PauseDuration(d *intstr.IntOrString) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	var length time.Duration
	if d.Type == intstr.Int {
		length = time.Duration(d.IntVal) * time.Second
	} else if seconds, err := strconv.ParseInt(d.StrVal, 10, 64); err == nil {
		if seconds > math.MaxInt64/int64(time.Second) {
			return 0, fmt.Errorf("%q is too long: use at most %s", d.StrVal, time.Duration(math.MaxInt64).Truncate(time.Hour))
		}
		// Seconds that would overflow downwards stay negative, and are refused below.
		length = time.Duration(max(seconds, -1)) * time.Second
	} else if length, err = time.ParseDuration(d.StrVal); err != nil {
		return 0, fmt.Errorf("%q is not a duration: use a number of seconds, or a string with a unit as in \"90s\", \"10m\" or \"1h30m\"", d.StrVal)
	}
	if length < 0 {
		return 0, fmt.Errorf("%q is negative: use 0 or more, or leave duration out to wait for a promote", d.String())
	}
	return length, nil
}

// steps are the steps of the strategy; nil if there are none.
func steps(r *rollouts.Rollout) []rollouts.CanaryStep {
	if r.Spec.Strategy.Canary == nil {
		return nil
	}
	return r.Spec.Strategy.Canary.Steps
}

// stepIndex is the step that the update is at, between 0 and the number of steps.
func stepIndex(r *rollouts.Rollout) int32 {
	return min(max(ptr.Deref(r.Status.CurrentStepIndex, 0), 0), int32(len(steps(r))))
}

// stepsDone is true if no step is left to take; always so without steps.
func stepsDone(r *rollouts.Rollout) bool {
	return int(stepIndex(r)) == len(steps(r))
}

// updateInFlight is true while the current revision is on its way to replace a stable one. It is false
// while the first revision is deployed, which has nothing to replace.
func updateInFlight(r *rollouts.Rollout) bool {
	return r.Status.StableRS != "" && r.Status.StableRS != r.Status.CurrentPodHash
}

// firstStep is the index at which the current revision starts: 0 for an update, and past the last step
// where steps do not apply; nil without steps.
func firstStep(r *rollouts.Rollout) *int32 {
	n := len(steps(r))
	switch {
	case n == 0:
		return nil
	case updateInFlight(r):
		return ptr.To[int32](0)
	default:
		return ptr.To(int32(n))
	}
}

// lastStep is the index past the last step; nil without steps.
func lastStep(r *rollouts.Rollout) *int32 {
	if len(steps(r)) == 0 {
		return nil
	}
	return ptr.To(int32(len(steps(r))))
}

// stepsEqual is true if two lists of steps are the same: what was approved is bound to this, and not to the
// names that the lists go by.
func stepsEqual(a, b []rollouts.CanaryStep) bool { return apiequality.Semantic.DeepEqual(a, b) }

// stepHashBytes is how much of a SHA-256 is in a step hash.
const stepHashBytes = 16

// stepHash names a list of steps. People choose what is in it, and approvals carry it, so that no two lists
// must be found that have the same. It is of a text of our own rather than of an encoded type, so that it
// stays the same when the type gets new fields.
func stepHash(list []rollouts.CanaryStep) string {
	if len(list) == 0 {
		return ""
	}
	var text strings.Builder
	for _, s := range list {
		switch {
		case s.SetWeight != nil:
			fmt.Fprintf(&text, "setWeight=%d;", *s.SetWeight)
		case approvalOf(s) != nil:
			a := s.Pause.Approval
			fmt.Fprintf(&text, "approval=%d,%q,%t,%s;", required(a), a.Groups, excludesAuthors(a), textOf(a.ExpireAfter))
		case s.Pause != nil:
			fmt.Fprintf(&text, "pause=%s;", textOf(s.Pause.Duration))
		default:
			text.WriteString("none;")
		}
	}
	sum := sha256.Sum256([]byte(text.String()))
	// Digits only: each of them is encoded differently.
	return rand.SafeEncodeString(new(big.Int).SetBytes(sum[:stepHashBytes]).String())
}

// textOf is a duration as it was written, in quotes; empty if there is none.
func textOf(d *intstr.IntOrString) string {
	if d == nil {
		return ""
	}
	return strconv.Quote(d.String())
}

// clearPauses ends the pauses that the controller began.
func clearPauses(st *rollouts.RolloutStatus) {
	st.PauseConditions = nil
	st.ControllerPause = false
}

// takeStep goes on to the next step if the condition of the current one holds: at most one step in a
// decision. It begins the pause of a pause step, in the same decision in which it gets there.
func (d *decider) takeStep() {
	if blueGreen(d.rollout) != nil {
		d.takePromotion()
		return
	}
	r := d.rollout
	if r.Spec.Paused || r.Status.Abort || r.Status.PromoteFull || !updateInFlight(r) || stepsDone(r) {
		return
	}
	if d.stepDone(steps(r)[stepIndex(r)]) {
		r.Status.CurrentStepIndex = ptr.To(stepIndex(r) + 1)
		clearPauses(&r.Status)
		voidApprovals(&r.Status)
		d.advanced = true
	}
	if !stepsDone(r) {
		d.awaitPause(steps(r)[stepIndex(r)])
	}
}

// stepDone is the condition of a step: a weight is reached, also from above, or the time of a pause has passed.
func (d *decider) stepDone(s rollouts.CanaryStep) bool {
	switch {
	case s.SetWeight != nil:
		at := d.target()
		return d.settledWith(at, enough(d.rollout, at.canary)) && d.poolNow(d.current).pods <= at.canary
	case s.Pause != nil:
		return d.pauseOver(s.Pause)
	default:
		return true // Validation lets no step without a kind through; none must ever wedge a Rollout.
	}
}

// pauseOver is true once a timed pause has lasted its duration. Without a duration it never is: a
// promote moves the index past it.
func (d *decider) pauseOver(p *rollouts.RolloutPause) bool {
	length, timed := pauseLength(p)
	if !timed {
		return false
	}
	if length == 0 {
		return true
	}
	began := d.rollout.Status.PauseConditions
	return len(began) > 0 && !d.now.Before(began[0].StartTime.Add(length))
}

// awaitPause begins the pause of a step unless it has begun, and asks to be called when it is over.
func (d *decider) awaitPause(s rollouts.CanaryStep) {
	if s.Pause == nil {
		return
	}
	length, timed := pauseLength(s.Pause)
	if timed && length == 0 {
		d.requeueIn(time.Millisecond) // Passes at once, but in a decision of its own.
		return
	}
	st := &d.rollout.Status
	if s.Pause.Approval != nil {
		d.expireApprovals(s.Pause.Approval)
	}
	if len(st.PauseConditions) == 0 {
		st.PauseConditions = []rollouts.PauseCondition{{Reason: rollouts.PauseReasonCanaryPauseStep, StartTime: microAtOrAfter(d.now)}}
		d.event(false, eventPaused, "Paused at step %d/%d%s", stepIndex(d.rollout), len(steps(d.rollout)), pauseEnd(length, timed))
	}
	st.ControllerPause = true
	if timed {
		d.beganByNow(&st.PauseConditions[0].StartTime)
		d.requeueIn(st.PauseConditions[0].StartTime.Add(length).Sub(d.now))
	}
}

// beganByNow corrects the beginning of a wait that the clock says is yet to come. It was set back since, and without
// this the wait would last as much longer.
func (d *decider) beganByNow(began *metav1.MicroTime) {
	if latest := microAtOrAfter(d.now); began.After(latest.Time) {
		*began = latest
	}
}

// pauseLength is how long a pause lasts, and false if it has no end of its own. A duration that cannot be
// read, which validation lets through never, waits for people rather than pass.
func pauseLength(p *rollouts.RolloutPause) (time.Duration, bool) {
	if p.Duration == nil {
		return 0, false
	}
	length, err := PauseDuration(p.Duration)
	return length, err == nil
}

func pauseEnd(length time.Duration, timed bool) string {
	if timed {
		return " for " + length.String()
	}
	return ": promote to go on"
}

// microAtOrAfter is the first moment at or after t that a MicroTime can hold, so that what is counted
// from it never ends early.
func microAtOrAfter(t time.Time) metav1.MicroTime {
	floor := t.Truncate(time.Microsecond)
	if floor.Before(t) {
		floor = floor.Add(time.Microsecond)
	}
	return metav1.NewMicroTime(floor)
}
