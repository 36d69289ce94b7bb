// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package planner

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// stepNow is the step that the Rollout is at; nil if nothing is to be done any more.
func (p *plan) stepNow() *rollouts.PlannedStep {
	r := p.cluster.Rollout
	st := &r.Status
	steps := stepsOf(r)
	inFlight := st.StableRS != "" && st.StableRS != st.CurrentPodHash && !st.Abort && !st.PromoteFull
	at := int(ptr.Deref(st.CurrentStepIndex, 0))
	if r.Spec.Strategy.BlueGreen != nil {
		return p.blueGreenStep()
	}
	switch {
	case p.completes:
		return &rollouts.PlannedStep{Action: rollouts.PlannedComplete}
	case inFlight && at < len(steps):
		return p.strategyStep(at, steps[at])
	case inFlight && len(steps) > 0, p.step != nil && p.step.Index != nil && !st.Abort && !st.PromoteFull:
		// The latter: the last step was to move all pods, so that it was the end as well.
		p.completes = true
		return &rollouts.PlannedStep{Action: rollouts.PlannedComplete}
	case p.step != nil || st.Phase == rollouts.RolloutPhaseProgressing || st.Abort && p.misplaced():
		return &rollouts.PlannedStep{Action: rollouts.PlannedDeploy}
	default:
		return nil
	}
}

// strategyStep is a step of the strategy.
func (p *plan) strategyStep(index int, s rollouts.CanaryStep) *rollouts.PlannedStep {
	step := &rollouts.PlannedStep{Index: ptr.To(int32(index)), Action: rollouts.PlannedSetWeight}
	if s.Pause == nil {
		return step
	}
	step.Action = rollouts.PlannedPause
	step.Approval = s.Pause.Approval
	if s.Pause.Duration == nil || s.Pause.Approval != nil {
		step.UntilPromoted = true
		return step
	}
	length, err := engine.PauseDuration(s.Pause.Duration)
	if err != nil {
		step.UntilPromoted = true
		return step
	}
	// Of the pause that is waited in already only a part is left.
	if began := p.began.Rollout.Status; int32(index) == ptr.Deref(began.CurrentStepIndex, -1) && len(began.PauseConditions) > 0 &&
		began.CurrentPodHash == p.cluster.Rollout.Status.CurrentPodHash {
		length = max(length-p.began.Now.Sub(began.PauseConditions[0].StartTime.Time), 0)
	}
	step.Duration = &metav1.Duration{Duration: length}
	return step
}

// misplaced is true while pods of the revision that was aborted are left, or stable ones are missing.
func (p *plan) misplaced() bool {
	canary, others := p.pods()
	if b := p.cluster.Rollout.Spec.Strategy.BlueGreen; b != nil && ptr.Deref(b.AbortScaleDownDelaySeconds, 1) == 0 {
		canary = 0 // They are kept until the next change.
	}
	return canary > 0 || others != ptr.Deref(p.cluster.Rollout.Spec.Replicas, 1)
}

func stepsOf(r *rollouts.Rollout) []rollouts.CanaryStep {
	if r.Spec.Strategy.Canary == nil {
		return nil
	}
	return r.Spec.Strategy.Canary.Steps
}

// end completes the plan once nothing happens any more.
func (p *plan) end() {
	p.close()
	st := &p.cluster.Rollout.Status
	p.status.Phase, p.status.Revision = st.Phase, st.Revision
	people := 0
	var waits time.Duration
	for _, s := range p.status.Steps {
		if s.UntilPromoted {
			people++
		}
		if s.Duration != nil && s.Action == rollouts.PlannedPause {
			waits += s.Duration.Duration
		}
	}
	if len(p.status.Steps) > 0 {
		p.status.Waits = &metav1.Duration{Duration: waits}
	}
	p.status.Message = p.message(people)
}

// message is the plan in a sentence.
func (p *plan) message(people int) string {
	r, st := p.began.Rollout, &p.cluster.Rollout.Status
	var said []string
	if p.resumed {
		said = append(said, "once it is resumed")
	}
	switch {
	case len(p.status.Steps) == 0 && st.Abort:
		said = append(said, fmt.Sprintf("nothing to do: the update to revision %d was aborted; retry it, or change the template", st.Revision))
	case len(p.status.Steps) == 0:
		said = append(said, fmt.Sprintf("nothing to do: revision %d is %s", st.Revision, st.Phase))
	case p.waitsForService():
		said = append(said, fmt.Sprintf("waits for Service %s, which is missing or managed by another rollout", r.Spec.Strategy.BlueGreen.ActiveService))
	case p.onlyKept():
		said = append(said, "takes the pods of earlier revisions once they need not be kept any more")
	case st.Abort:
		said = append(said, fmt.Sprintf("takes all pods back from revision %d, which was aborted", st.Revision))
	default:
		said = append(said, fmt.Sprintf("rolls out revision %d in %s, with at most %d pods", st.Revision, counted(len(p.status.Steps), "step"), p.status.PeakReplicas))
		if people > 0 {
			said = append(said, fmt.Sprintf("%s for somebody to promote", waits(people)))
		}
	}
	if unavailable := r.Status.Replicas - r.Status.AvailableReplicas; unavailable > 0 && len(p.status.Steps) > 0 {
		said = append(said, fmt.Sprintf("provided that %s not available now become so", notNow(unavailable)))
	}
	return strings.Join(said, ", ")
}

func waits(n int) string {
	if n == 1 {
		return "1 of which waits"
	}
	return fmt.Sprintf("%d of which wait", n)
}

func notNow(n int32) string {
	if n == 1 {
		return "the pod that is"
	}
	return fmt.Sprintf("the %d pods that are", n)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
