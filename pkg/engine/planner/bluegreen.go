// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package planner

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// blueGreenStep is what a blueGreen Rollout is at: its new pods come up (Deploy), it waits to be promoted (Pause), it
// is brought to replicas and clients are led to it (Complete), and pods of earlier revisions go (Deploy). nil if
// nothing is to be done any more.
func (p *plan) blueGreenStep() *rollouts.PlannedStep {
	r := p.cluster.Rollout
	st := &r.Status
	inFlight := st.StableRS != "" && st.StableRS != st.CurrentPodHash
	switch {
	case st.Abort:
		if p.step != nil || p.misplaced() {
			return &rollouts.PlannedStep{Action: rollouts.PlannedDeploy}
		}
		return nil
	case inFlight && (st.PromoteFull || st.BlueGreen != nil && st.BlueGreen.ScaleUpPreviewCheckPoint):
		return &rollouts.PlannedStep{Action: rollouts.PlannedComplete}
	case inFlight && len(st.PauseConditions) > 0:
		return p.promotionPause()
	case inFlight:
		return &rollouts.PlannedStep{Action: rollouts.PlannedDeploy}
	}
	if left, kept := p.kept(); kept {
		return &rollouts.PlannedStep{Action: rollouts.PlannedDeploy, Duration: &metav1.Duration{Duration: left}}
	}
	if p.step == nil && st.Phase != rollouts.RolloutPhaseProgressing {
		return nil
	}
	if p.step != nil { // It goes on, or was the last.
		return &rollouts.PlannedStep{Action: p.step.Action}
	}
	return &rollouts.PlannedStep{Action: rollouts.PlannedDeploy}
}

// promotionPause is the wait before clients are led to the new revision.
func (p *plan) promotionPause() *rollouts.PlannedStep {
	r := p.cluster.Rollout
	step := &rollouts.PlannedStep{Action: rollouts.PlannedPause}
	b := r.Spec.Strategy.BlueGreen
	if !ptr.Deref(b.AutoPromotionEnabled, true) {
		step.UntilPromoted = true
		return step
	}
	length := time.Duration(ptr.Deref(b.AutoPromotionSeconds, 0)) * time.Second
	end := r.Status.PauseConditions[0].StartTime.Add(length)
	step.Duration = &metav1.Duration{Duration: min(length, max(end.Sub(p.cluster.Now()), 0))}
	return step
}

// kept is how long the pods of earlier revisions are still kept, the longest of them; false if there are none.
func (p *plan) kept() (left time.Duration, kept bool) {
	for _, rs := range p.owned() {
		if rs.Labels[rollouts.PodTemplateHashLabel] == p.cluster.Rollout.Status.CurrentPodHash || ptr.Deref(rs.Spec.Replicas, 1) == 0 {
			continue
		}
		if until, err := time.Parse(time.RFC3339Nano, rs.Annotations[rollouts.ScaleDownDeadlineAnnotation]); err == nil {
			left, kept = max(left, until.Sub(p.cluster.Now())), true
		}
	}
	return left.Round(time.Millisecond), kept
}

// onlyKept is true if nothing happens but that pods of earlier revisions go.
func (p *plan) onlyKept() bool {
	return p.began.Rollout.Spec.Strategy.BlueGreen != nil && p.began.Rollout.Status.Phase == rollouts.RolloutPhaseHealthy &&
		len(p.status.Steps) == 1 && p.status.Steps[0].Duration != nil
}

// waitsForService is true if clients cannot be led to anything, since their Service is not there to be led.
func (p *plan) waitsForService() bool {
	b := p.cluster.Rollout.Spec.Strategy.BlueGreen
	if b == nil {
		return false
	}
	s := p.cluster.Service(b.ActiveService)
	if s == nil {
		return true
	}
	by := s.Annotations[rollouts.ManagedByRolloutAnnotation]
	return by != "" && by != p.cluster.Rollout.Name
}
