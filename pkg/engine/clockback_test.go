// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestAPauseOutlivesNoClockThatIsSetBack: what was begun at a time that is yet to come begins now, so that no wait lasts
// longer than its own time from then on, nor shorter.
func TestAPauseOutlivesNoClockThatIsSetBack(t *testing.T) {
	for _, row := range []struct {
		name  string
		world *world
		over  func(*rollouts.Rollout) bool
	}{
		{"a step", deployed(t, rollout(2, weight(50), pause("10s"), pause(""))),
			func(r *rollouts.Rollout) bool { return *r.Status.CurrentStepIndex == 2 }},
		{"the wait of blueGreen", serving(t, blueGreen(2, promotedAfter(10))),
			func(r *rollouts.Rollout) bool { return r.Status.StableRS == r.Status.CurrentPodHash }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := row.world
			w.edit("v2", image("v2"))
			w.waitFor(rollouts.RolloutPhasePaused, "")
			w.Sleep(4*time.Second - time.Hour)
			if d := w.Reconcile(); d.RequeueAfter < 10*time.Second || d.RequeueAfter > 10*time.Second+time.Microsecond {
				t.Errorf("to be called again in %s, want 10 s", d.RequeueAfter)
			}
			before := w.Written
			w.Reconcile()
			if w.Written != before {
				t.Error("the beginning is corrected more than once")
			}
			w.Sleep(10*time.Second - time.Microsecond)
			w.Reconcile()
			if row.over(w.Rollout) {
				t.Error("it ended early")
			}
			w.Sleep(2 * time.Microsecond)
			w.settle()
			if !row.over(w.Rollout) {
				t.Error("it is not over")
			}
		})
	}
}

// TestADeadlineOutlivesNoClockThatIsSetBack, either.
func TestADeadlineOutlivesNoClockThatIsSetBack(t *testing.T) {
	w := deployed(t, withDeadline(rollout(4, weight(50)), 30, false))
	w.edit("bad", image("bad"))
	w.Reconcile()
	w.SyncAll()
	w.Reconcile()
	w.Sleep(4*time.Second - time.Hour)
	if d := w.Reconcile(); d.RequeueAfter < 30*time.Second || d.RequeueAfter > 30*time.Second+time.Microsecond {
		t.Errorf("to be called again in %s, want 30 s", d.RequeueAfter)
	}
	w.Sleep(30*time.Second + time.Microsecond)
	w.Reconcile()
	w.degraded("ProgressDeadlineExceeded")
}
