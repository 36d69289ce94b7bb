// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// TestPauseDuration is what a duration may be: "a number of seconds, or a string with a unit; 0 passes at
// once; negative values and garbage are refused".
func TestPauseDuration(t *testing.T) {
	for _, row := range []struct {
		in   *intstr.IntOrString
		want time.Duration
		ok   bool
	}{
		{nil, 0, true},
		{ptr.To(intstr.FromInt32(0)), 0, true},
		{ptr.To(intstr.FromInt32(10)), 10 * time.Second, true},
		{ptr.To(intstr.FromString("10")), 10 * time.Second, true},
		{ptr.To(intstr.FromString("0")), 0, true},
		{ptr.To(intstr.FromString("10s")), 10 * time.Second, true},
		{ptr.To(intstr.FromString("1h30m")), 90 * time.Minute, true},
		{ptr.To(intstr.FromString("1.5s")), 1500 * time.Millisecond, true},
		{ptr.To(intstr.FromInt32(-1)), 0, false},
		{ptr.To(intstr.FromString("-1")), 0, false},
		{ptr.To(intstr.FromString("-1s")), 0, false},
		{ptr.To(intstr.FromString("-99999999999999")), 0, false},
		{ptr.To(intstr.FromString("99999999999999")), 0, false},
		{ptr.To(intstr.FromString("99999999999999999999")), 0, false},
		{ptr.To(intstr.FromString("abc")), 0, false},
		{ptr.To(intstr.FromString("")), 0, false},
		{ptr.To(intstr.FromString("1d")), 0, false},
	} {
		name := "nil"
		if row.in != nil {
			name = row.in.String()
		}
		got, err := engine.PauseDuration(row.in)
		if (err == nil) != row.ok || row.ok && got != row.want {
			t.Errorf("%q: got %s, %v", name, got, err)
		}
	}
}

// TestPauseNeverEndsEarly: the clock of a timed pause is finer than a second, and the decision asks to be
// called exactly when it is over.
func TestPauseNeverEndsEarly(t *testing.T) {
	w := deployed(t, rollout(2, pause("10s"), weight(50)))
	w.edit("v2", image("v2"))
	began := w.Now()
	d := w.Reconcile()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	if d.RequeueAfter < 10*time.Second || d.RequeueAfter > 10*time.Second+time.Microsecond {
		t.Errorf("to be called again in %s", d.RequeueAfter)
	}
	w.Sleep(10*time.Second - time.Nanosecond)
	w.Reconcile()
	w.step(0)
	w.Sleep(began.Add(d.RequeueAfter).Sub(w.Now()))
	w.Reconcile()
	w.step(1)
	if w.Now().Sub(began) < 10*time.Second {
		t.Error("it ended early")
	}
}

// TestPauseOfZeroPassesAtOnce, in a decision of its own: at most one step each.
func TestPauseOfZeroPassesAtOnce(t *testing.T) {
	w := deployed(t, rollout(2, pause("0"), pause("0"), pause("")))
	w.edit("v2", image("v2"))
	w.Reconcile()
	w.step(1)
	w.Reconcile()
	w.step(2)
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("2 0") // a leading pause keeps 0 canary pods
}

// TestPauseGoesOnWhilePausedByHand: its time counts, but no step is taken.
func TestPauseGoesOnWhilePausedByHand(t *testing.T) {
	w := deployed(t, rollout(2, pause("10s"), pause("")))
	w.edit("v2", image("v2"))
	w.Reconcile()
	w.edit("paused", paused(true))
	w.Sleep(time.Minute)
	w.settle()
	w.step(0)
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.edit("unpaused", paused(false))
	w.settle()
	w.step(1)
}

// TestUpdateAtZeroReplicas: "an update at 0 replicas still pauses".
func TestUpdateAtZeroReplicas(t *testing.T) {
	w := deployed(t, rollout(0, weight(50), pause("")))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.sizes("0 0")
	w.edit("replicas 4", scale(4))
	w.settle()
	w.pods("2 2")
	w.edit("replicas 0", scale(0))
	w.settle()
	w.pods("0 0")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.must(w.Promote(false))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}

// TestChangedStepsStartAgain: "steps changed in mid-update: index 0; an abort stays".
func TestChangedStepsStartAgain(t *testing.T) {
	change := func(spec *rollouts.RolloutSpec) {
		spec.Strategy.Canary.Steps = []rollouts.CanaryStep{weight(50), pause(""), weight(75)}
	}
	w := deployed(t, rollout(4, weight(25), pause("")))
	w.update("v2")
	w.step(1)
	hash := w.Rollout.Status.CurrentStepHash
	w.edit("steps", change)
	w.step(0)
	if w.Rollout.Status.CurrentStepHash == hash {
		t.Error("the hash of the steps does not tell")
	}
	w.settle()
	w.step(1)
	w.pods("2 2")

	w.must(w.Abort())
	w.edit("steps", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.Steps = []rollouts.CanaryStep{weight(25)} })
	w.settle()
	w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
	w.pods("4 0")
	w.edit("no steps", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.Steps = nil })
	if w.Rollout.Status.CurrentStepIndex != nil {
		t.Error("a step index without steps")
	}
	w.Reconcile()
	w.must(w.Retry())
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}

// TestUnrelatedChangesKeepTheStep: "change of unrelated spec fields: no restart of the update" (B17).
func TestUnrelatedChangesKeepTheStep(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), pause("")))
	w.update("v2")
	began := w.Rollout.Status.PauseConditions[0].StartTime
	w.edit("history", func(spec *rollouts.RolloutSpec) { spec.RevisionHistoryLimit = ptr.To[int32](3) })
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.settle()
	w.step(1)
	if !w.Rollout.Status.PauseConditions[0].StartTime.Equal(&began) {
		t.Error("the pause began anew")
	}
}

// No two lists of steps go by the same name: people are shown it with what they approve.
func TestEveryListOfStepsHasANameOfItsOwn(t *testing.T) {
	names := map[string]int{}
	for i, list := range [][]rollouts.CanaryStep{
		nil,
		{weight(20), pause("")},
		{weight(21), pause("")},
		{pause(""), weight(20)},
		{weight(20), pause("10s")},
		{weight(20), pause("11s")},
		{weight(20), approval(1)},
		{weight(20), approval(2)},
		{weight(20), approval(1, "a")},
		{weight(20), approval(1, "a", "b")},
		{weight(20)},
	} {
		name := newWorld(t, rollout(4, list...)).Rollout.Status.CurrentStepHash
		if other, taken := names[name]; taken {
			t.Errorf("list %d has the name of list %d: %q", i, other, name)
		}
		names[name] = i
	}
}

// TestALowerWeightIsReachedFromAbove: the host tells that it has seen the new size before it tells that the pods are gone,
// and until then the step goes on.
func TestALowerWeightIsReachedFromAbove(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	w.update("v2")
	w.pods("2 2")
	w.edit("fewer", func(spec *rollouts.RolloutSpec) {
		spec.Strategy.Canary.Steps = []rollouts.CanaryStep{weight(25), pause("")}
	})
	for range 20 {
		reported := w.Find(w.Rollout.Status.CurrentPodHash).Status.Replicas
		w.Reconcile()
		if *w.Rollout.Status.CurrentStepIndex > 0 && reported > 1 {
			t.Fatalf("the step is done with %d pods", reported)
		}
		w.Sync(w.Find(w.Rollout.Status.StableRS))
		w.SyncEarly(w.Find(w.Rollout.Status.CurrentPodHash))
		w.Sleep(time.Second)
	}
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("3 1")
}
