// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// TestPausedByHand: "no new revision is started, no step is taken, and only a change of replicas, or an
// abort, moves pods".
func TestPausedByHand(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), weight(75), pause("")))
	w.edit("v2, paused", func(spec *rollouts.RolloutSpec) { image("v2")(spec); paused(true)(spec) })
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.pods("4") // not started
	w.edit("replicas 6", scale(6))
	w.settle()
	w.pods("6") // the stable revision serves alone
	w.edit("unpaused", paused(false))
	w.Reconcile()
	w.SyncAll()
	w.edit("paused in mid-move", paused(true))
	w.settle()
	w.step(0)
	moved := w.Find(w.Rollout.Status.CurrentPodHash).Status.Replicas
	if moved == 0 || moved == 3 {
		t.Fatalf("the move was to be in the middle, %d canary pods", moved)
	}
	w.edit("replicas 12", scale(12))
	w.settle()
	w.pods("6 6") // the arithmetic at the present weight
	w.step(0)
	w.must(w.Abort())
	w.settle()
	w.pods("12 0")
	w.degraded("RolloutAborted")
}

// TestPausedFirstDeployment: nothing is created before it is let go.
func TestPausedFirstDeployment(t *testing.T) {
	r := rollout(3)
	r.Spec.Paused = true
	w := newWorld(t, r)
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.pods("")
	w.edit("unpaused", paused(false))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}

// TestScaleInTwoMoves: a scale-down that needs more than one move is finished also while paused.
func TestScaleInTwoMoves(t *testing.T) {
	w := deployed(t, rollout(20, weight(20), pause("")))
	w.update("v2")
	w.pods("16 4")
	w.edit("5 replicas, paused", func(spec *rollouts.RolloutSpec) { scale(5)(spec); paused(true)(spec) })
	w.settle()
	w.pods("4 1")
}

// TestRollback: "going back to the stable template: no ReplicaSet is created, no step taken; the ReplicaSet
// carries the new revision; Healthy at once if nothing is to be moved".
func TestRollback(t *testing.T) {
	w := deployed(t, rollout(4, pause(""), weight(50)))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.edit("v1", image("v1"))
	d := w.Reconcile()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.step(2)
	if d.Create != nil || len(w.ReplicaSets()) != 2 {
		t.Error("a rollback created a ReplicaSet")
	}
	if got := w.ReplicaSets()[0].Annotations[rollouts.RevisionAnnotation]; got != "3" {
		t.Errorf("revision %s, want 3", got)
	}
}

// TestRollbackDrainsLeftovers within the budget, by the rules for older ReplicaSets.
func TestRollbackDrainsLeftovers(t *testing.T) {
	w := deployed(t, bounded(rollout(4, weight(75), pause("")), "1", "0"))
	w.update("v2")
	w.pods("1 3")
	w.update("v1")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("4 0")
}

// TestOldVersionAgainTakesAllSteps: "v2 applied again after v1, v2, v3 runs all steps", on its old ReplicaSet.
func TestOldVersionAgainTakesAllSteps(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), pause("")))
	for _, name := range []string{"v2", "v3"} {
		w.edit(name, image(name))
		w.Reconcile()
		w.must(w.Promote(true))
		w.settle()
	}
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("0 1 3")
	if got := w.Rollout.Status.Revision; got != 4 {
		t.Errorf("revision %d, want 4", got)
	}
}

// TestOutcome: what became of a revision is on its ReplicaSet, at the cost of no write.
func TestOutcome(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	w.update("v2")
	w.outcomes("promoted -")
	w.must(w.Abort())
	w.settle()
	w.outcomes("promoted aborted")
	w.must(w.Retry())
	w.settle()
	w.outcomes("promoted -")
	w.must(w.Promote(false))
	w.settle()
	w.update("v3")
	w.outcomes("promoted promoted -")
}

// TestOutcomeTellsWhenWhoAndWhy: the action that ended a revision is told on its ReplicaSet, for longer than the newest
// actions are kept; one that is tried again has no end, and what came of it by itself has no user.
func TestOutcomeTellsWhenWhoAndWhy(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	first := w.Rollout.Status.StableRS
	completed := w.completed()
	w.Sleep(time.Hour)
	w.update("v2")
	second := w.Rollout.Status.CurrentPodHash
	w.ended(first, "promoted", completed, "", "")
	w.ended(second, "", "", "", "")

	w.Sleep(time.Hour)
	w.must(w.Abort())
	w.did("abort", "jane", "5xx since noon")
	w.settle()
	w.ended(second, "aborted", w.Rollout.Status.AbortedAt.UTC().Format(time.RFC3339Nano), "jane", "5xx since noon")
	w.must(w.Retry())
	w.did("retry", "paul", "by mistake")
	w.settle()
	w.ended(second, "", "", "", "")

	w.Sleep(time.Hour)
	w.must(w.Promote(false))
	w.did("promote", "paul", "error rate is flat")
	w.settle()
	completed = w.completed()
	w.Sleep(time.Hour)
	w.update("v3")
	w.ended(second, "promoted", completed, "paul", "error rate is flat")
	// The abort of an earlier revision is not that of this one.
	w.did("abort", "jane", "of another revision")
	w.Rollout.Status.Actions[len(w.Rollout.Status.Actions)-1].Revision = 2
	w.must(w.Abort())
	w.settle()
	w.ended(w.Rollout.Status.CurrentPodHash, "aborted", w.Rollout.Status.AbortedAt.UTC().Format(time.RFC3339Nano), "", "")
}

// completed is when the current revision became the stable one.
func (w *world) completed() string {
	w.t.Helper()
	at := slices.IndexFunc(w.Rollout.Status.Conditions, func(c rollouts.RolloutCondition) bool { return c.Type == rollouts.RolloutCompleted })
	if at < 0 || w.Rollout.Status.Conditions[at].Status != corev1.ConditionTrue {
		w.t.Fatalf("not completed: %+v", w.Rollout.Status.Conditions)
	}
	return w.Rollout.Status.Conditions[at].LastTransitionTime.UTC().Format(time.RFC3339)
}

// did records that somebody called a verb on the current revision.
func (w *world) did(verb, user, reason string) {
	w.Rollout.Status.Actions = append(w.Rollout.Status.Actions, rollouts.RolloutAction{
		Verb: verb, Outcome: rollouts.ActionDone, User: user, Reason: reason, Revision: w.Rollout.Status.Revision, Time: metav1.NewMicroTime(w.Now()),
	})
}

// ended checks what is told of the end of the revision with a hash.
func (w *world) ended(hash string, want ...string) {
	w.t.Helper()
	notes := w.Find(hash).Annotations
	got := []string{notes[rollouts.OutcomeAnnotation], notes[rollouts.OutcomeTimeAnnotation], notes[rollouts.OutcomeUserAnnotation], notes[rollouts.OutcomeReasonAnnotation]}
	if !slices.Equal(got, want) {
		w.t.Errorf("the revision ended as %q, want %q", got, want)
	}
}

// outcomes checks the outcome of each revision, oldest ReplicaSet first.
func (w *world) outcomes(want string) {
	w.t.Helper()
	got := ""
	for i, rs := range w.ReplicaSets() {
		if i > 0 {
			got += " "
		}
		if outcome := rs.Annotations[rollouts.OutcomeAnnotation]; outcome != "" {
			got += outcome
		} else {
			got += "-"
		}
	}
	if got != want {
		w.t.Fatalf("outcomes %s, want %s", got, want)
	}
}

// TestMinReadySecondsReachesReplicaSets in one write each, and is waited for.
func TestMinReadySecondsReachesReplicaSets(t *testing.T) {
	w := deployed(t, rollout(2, weight(50), pause("")))
	w.update("v2")
	w.Written.ReplicaSets = 0
	w.edit("minReadySeconds", func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = 30 })
	w.settle()
	if w.Written.ReplicaSets != 2 {
		t.Errorf("%d writes, want one for each ReplicaSet", w.Written.ReplicaSets)
	}
	for _, rs := range w.ReplicaSets() {
		if rs.Spec.MinReadySeconds != 30 {
			t.Errorf("%s has minReadySeconds %d", rs.Name, rs.Spec.MinReadySeconds)
		}
	}
}

// TestWeights is what status.canary.weights and the WEIGHT column show.
func TestWeights(t *testing.T) {
	w := newWorld(t, rollout(4, weight(25), pause("")))
	w.weights(100, 100, 0)
	w.settle()
	w.weights(100, 0, 100)
	w.update("v2")
	w.weights(25, 25, 75)
	w.must(w.Abort())
	w.weights(0, 0, 100)
	w.must(w.Promote(true))
	w.weights(100, 100, 0)
}

func (w *world) weights(set, canary, stable int32) {
	w.t.Helper()
	w.Reconcile()
	got := w.Rollout.Status.Canary.Weights
	if engine.SetWeight(w.Rollout) != set || got.Canary.Weight != canary || got.Stable.Weight != stable {
		w.t.Fatalf("weight %d, canary %d, stable %d; want %d, %d, %d", engine.SetWeight(w.Rollout), got.Canary.Weight, got.Stable.Weight, set, canary, stable)
	}
}

// TestPausedOldVersionAgain: a revision that has a ReplicaSet from before is not started either while paused,
// also when replicas change.
func TestPausedOldVersionAgain(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	w.edit("v2", image("v2"))
	w.Reconcile()
	w.must(w.Promote(true))
	w.settle()
	w.edit("replicas 6", scale(6))
	w.settle()
	w.edit("v1, paused", func(spec *rollouts.RolloutSpec) { image("v1")(spec); paused(true)(spec) })
	w.settle()
	w.pods("0 6")
	w.edit("replicas 8", scale(8))
	w.settle()
	w.pods("0 8")
	w.edit("unpaused", paused(false))
	w.settle()
	w.pods("4 4")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
}

// TestPausedAfterScaleOfAStuckUpdate: a change of replicas that was done before the pause does not let pods
// move in it, though the update is far from its goal.
func TestPausedAfterScaleOfAStuckUpdate(t *testing.T) {
	w := deployed(t, bounded(rollout(4), "1", "0"))
	w.update("bad")
	w.sizes("4 1")
	w.edit("replicas 6", scale(6))
	w.settle()
	w.edit("paused", paused(true))
	w.settle()
	before := w.Written.ReplicaSets
	w.Pods = startsAfter(0)
	w.settle()
	if w.Written.ReplicaSets != before {
		t.Error("pods were moved while paused")
	}
}
