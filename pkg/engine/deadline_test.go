// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

func withDeadline(r *rollouts.Rollout, seconds int32, abort bool) *rollouts.Rollout {
	r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To(seconds), abort
	return r
}

// TestDeadlineAsksToBeCalled: nothing may happen between the last progress and the deadline, so the decision
// asks to be called when it is due, and is not called after it.
func TestDeadlineAsksToBeCalled(t *testing.T) {
	w := deployed(t, withDeadline(rollout(4, weight(50)), 30, false))
	w.edit("bad", image("bad"))
	d := w.Reconcile()
	if d.RequeueAfter < 30*time.Second || d.RequeueAfter > 30*time.Second+time.Millisecond {
		t.Errorf("to be called again in %s, want 30 s", d.RequeueAfter)
	}
	w.settle()
	w.degraded("ProgressDeadlineExceeded")
	if d := w.Reconcile(); d.RequeueAfter != 0 {
		t.Errorf("to be called again in %s, though nothing is awaited", d.RequeueAfter)
	}
}

// TestDeadlineStaysUntilProgress: "once exceeded it stays Degraded until progress or health is seen", and a
// promote, a retry or a new template gives it a new clock.
func TestDeadlineStaysUntilProgress(t *testing.T) {
	w := deployed(t, withDeadline(rollout(4, weight(50), pause("")), 30, false))
	w.update("bad")
	w.degraded("ProgressDeadlineExceeded")
	w.Sleep(time.Hour)
	w.settle()
	w.degraded("ProgressDeadlineExceeded")
	w.must(w.Promote(false))
	w.is(rollouts.RolloutPhaseProgressing, "more replicas need to be updated")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.update("v3")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
}

// TestDeadlineAbort: "progressDeadlineAbort aborts an unfinished update with a stable, in the same decision,
// never a first deployment, nor an idle Rollout".
func TestDeadlineAbort(t *testing.T) {
	t.Run("an update in flight", func(t *testing.T) {
		w := deployed(t, withDeadline(rollout(4, weight(50)), 30, true))
		w.update("bad")
		w.is(rollouts.RolloutPhaseDegraded, `RolloutAborted: Rollout aborted update to revision 2: ReplicaSet "`+w.ReplicaSets()[1].Name+`" has timed out progressing.`)
		w.pods("4 0")
		w.sizes("4 0")
		w.must(w.Retry())
		w.settle()
		w.degraded("RolloutAborted")
	})
	t.Run("a first deployment", func(t *testing.T) {
		r := withDeadline(rollout(4, weight(50)), 30, true)
		r.Spec.Template.Spec.Containers[0].Image = "bad"
		w := newWorld(t, r)
		w.settle()
		w.degraded("ProgressDeadlineExceeded")
		w.sizes("4")
	})
	t.Run("an idle Rollout that lost a pod", func(t *testing.T) {
		w := deployed(t, withDeadline(rollout(4, weight(50)), 30, true))
		w.Sleep(time.Hour)
		w.Pods = startsAfter(time.Minute)
		w.Disturb(w.ReplicaSets()[0], 0)
		w.SyncAll()
		w.Reconcile()
		w.is(rollouts.RolloutPhaseProgressing, "updated replicas are still becoming available")
		w.waitFor(rollouts.RolloutPhaseDegraded, "ProgressDeadlineExceeded")
		w.settle()
		w.is(rollouts.RolloutPhaseHealthy, "")
	})
	t.Run("the update after an aborted one", func(t *testing.T) {
		w := deployed(t, withDeadline(rollout(4, weight(50)), 30, true))
		w.update("bad")
		w.degraded("RolloutAborted")
		w.update("v3")
		w.is(rollouts.RolloutPhaseHealthy, "")
	})
}

// TestDeadlineStandsStillWhilePausedByHand, also when what is awaited cannot come.
func TestDeadlineStandsStillWhilePausedByHand(t *testing.T) {
	w := deployed(t, withDeadline(rollout(4, weight(50)), 30, true))
	w.edit("bad", image("bad"))
	w.Reconcile()
	w.SyncAll()
	w.edit("paused", paused(true))
	w.settle()
	w.Sleep(time.Hour)
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.edit("unpaused", paused(false))
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "more replicas need to be updated")
	w.settle()
	w.degraded("RolloutAborted")
}

// TestDeadlineCountsFromProgress: an update may take much longer than the deadline, as long as it moves; and
// progress that is seen only after the deadline is progress.
func TestDeadlineCountsFromProgress(t *testing.T) {
	w := deployed(t, bounded(withDeadline(rollout(4), 30, false), "1", "0"))
	w.Pods = startsAfter(20 * time.Second)
	w.edit("v2", image("v2"))
	for range 100 {
		w.Reconcile()
		w.SyncAll()
		w.Sleep(time.Second)
		w.SyncAll()
		if w.Rollout.Status.Phase == rollouts.RolloutPhaseDegraded {
			t.Fatal("Degraded while it moves")
		}
	}
	w.is(rollouts.RolloutPhaseHealthy, "")

	w.edit("v3", image("v3"))
	w.Reconcile()
	w.SyncAll()
	w.Sleep(time.Hour)
	w.SyncAll()
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "more replicas need to be updated")
}

// TestDeadlineIsNotExceededByOurAbsence: what could go on all the time but for a controller is no fault of
// the update, and the clock starts anew when one is back.
func TestDeadlineIsNotExceededByOurAbsence(t *testing.T) {
	w := deployed(t, withDeadline(rollout(10, weight(50), weight(80)), 30, true))
	w.edit("v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	for range 5 { // Whatever is seen is stored, but the controller ends before it moves a pod.
		w.Sleep(2 * time.Second)
		w.SyncAll()
		s := w.Snapshot()
		if d := engine.Decide(s); d.Status != nil {
			w.must(w.Apply(s, engine.Decision{Status: d.Status}, -1))
		}
	}
	w.pods("8 3")
	w.Sleep(time.Hour)
	w.SyncAll()
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "more replicas need to be updated")
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}
