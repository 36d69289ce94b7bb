// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// With autoPromotionSeconds clients are led to a new version when it was there for so long, by nobody, and not before; the
// wait can be cut short by a promote, or by another number.
func TestBlueGreenAutoPromotionSeconds(t *testing.T) {
	const seconds = 10
	s := together(t)
	r := s.deployBehind(newBlueGreen("timed", 2, promotedAfter(seconds), lingering(0)))
	s.observe(r, cluster.Bounds{MaxPods: 4, MinAvailable: 2})
	s.neverEmpty(r, r.Name)
	s.setTag(r.Name, "two")
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	began := r.Status.PauseConditions
	if len(began) != 1 || began[0].Reason != v1alpha1.PauseReasonBlueGreenPause {
		t.Fatalf("it waits for %+v", began)
	}
	ends := began[0].StartTime.Add(seconds * time.Second)
	if b := s.blocked(r.Name, v1alpha1.BlockerTimedPause); b.Until == nil || !b.Until.Time.Equal(ends) {
		t.Errorf("explained as %+v, where the wait ends at %s", b, ends)
	}
	s.awaitLed(r.Name+"-preview", s.hashOf(r, "two"))
	s.awaitLed(r.Name, s.hashOf(r, "two"))
	if now := time.Now(); now.Before(ends) {
		t.Errorf("clients were led to it at %s, before the wait ended at %s", now, ends)
	}
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	if len(r.Status.Actions) > 0 {
		t.Errorf("somebody has promoted: %+v", r.Status.Actions)
	}

	s.change(r.Name, func(r *v1alpha1.Rollout) { promotedAfter(day)(r.Spec.Strategy.BlueGreen) })
	for tag, goOn := range map[string]func(){
		"three": func() { s.must(s.perform(r.Name, "promote")) },
		"four":  func() { s.change(r.Name, func(r *v1alpha1.Rollout) { promotedAfter(1)(r.Spec.Strategy.BlueGreen) }) },
	} {
		s.change(r.Name, func(r *v1alpha1.Rollout) {
			promotedAfter(day)(r.Spec.Strategy.BlueGreen)
			r.Spec.Template.Spec.Containers[0].Image = image(tag)
		})
		s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
		goOn()
		s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
		s.awaitLed(r.Name, s.hashOf(r, tag))
	}
}
