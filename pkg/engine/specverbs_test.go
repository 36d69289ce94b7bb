// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

func TestUndoGoesBackToTheLastPromotedRevision(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	w.must(w.Promote(true))
	w.settle()
	w.update("v3")
	w.must(w.Abort())
	w.settle()
	w.must(w.Undo(0))
	if got := w.Rollout.Spec.Template.Spec.Containers[0].Image; got != "v2" {
		t.Fatalf("from an aborted v3 undone to %s", got)
	}
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.must(w.Undo(0))
	if got := w.Rollout.Spec.Template.Spec.Containers[0].Image; got != "v1" {
		t.Fatalf("from v2 undone to %s, want v1: v3 was aborted", got)
	}
}

func TestUndoToANamedRevision(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	w.must(w.Abort())
	w.settle()
	w.edit("v1", image("v1"))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.refused(w.Undo(0), engine.ReasonNoSuchRevision)
	w.refused(w.Undo(99), engine.ReasonNoSuchRevision)
	w.refused(w.Undo(w.Rollout.Status.Revision), engine.ReasonAlreadyThere)
	w.must(w.Undo(2)) // By its name, an aborted one too.
	if got := w.Rollout.Spec.Template.Spec.Containers[0].Image; got != "v2" {
		t.Fatalf("undone to %s", got)
	}
	if w.Rollout.Spec.Template.Labels[rollouts.PodTemplateHashLabel] != "" {
		t.Error("the label of the ReplicaSet came into the template")
	}
	w.settle()
	w.step(1)
	if n := len(w.ReplicaSets()); n != 2 {
		t.Errorf("%d ReplicaSets, want 2: the old one is used again", n)
	}
}

func TestUndoRefusalNamesWhatIsLeft(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	w.must(w.Abort())
	w.settle()
	w.edit("v1", image("v1"))
	w.settle()
	if err := w.Undo(0); err == nil || !strings.Contains(err.Error(), "2 (aborted)") {
		t.Errorf("got %v", err)
	}
}

// TestPauseOfWhatIsOverItsDeadline: the answer tells the phase that the controller will, which is not Degraded.
func TestPauseOfWhatIsOverItsDeadline(t *testing.T) {
	w := deployed(t, withDeadline(rollout(4, weight(50), pause("")), 30, false))
	w.update("bad")
	w.degraded("ProgressDeadlineExceeded")
	w.must(w.Pause())
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.must(w.Resume())
	w.settle()
	w.degraded("ProgressDeadlineExceeded")
}

func TestPauseFreezesAndResumeGoesOn(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), pause("10s"), weight(50), pause("")))
	w.edit("v2", image("v2"))
	w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.must(w.Pause())
	w.settle()
	w.Sleep(time.Hour)
	w.settle()
	w.step(1)
	w.must(w.Resume())
	w.settle()
	w.step(3)
}

func TestRestartReplacesEveryOldPodWithinTheBounds(t *testing.T) {
	for name, test := range map[string]struct {
		replicas           int32
		surge, unavailable string
		budget             int
	}{
		"one pod":               {1, "25%", "25%", 0},
		"one pod, none missing": {1, "1", "0", 1},
		"four pods":             {4, "25%", "25%", 3},
		"none may be missing":   {4, "1", "0", 4},
		"no surge":              {4, "0", "1", 3},
		"half at once":          {10, "0", "50%", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, bounded(rollout(test.replicas, twoSteps...), test.surge, test.unavailable))
			w.MinAvailable = test.budget
			w.Sleep(time.Minute)
			w.must(w.Restart())
			least := w.least()
			w.settleWatching(least)
			w.is(rollouts.RolloutPhaseHealthy, "")
			if !w.Rollout.Status.RestartedAt.Equal(w.Rollout.Spec.RestartAt) {
				t.Fatalf("restarted at %v, asked for %v", w.Rollout.Status.RestartedAt, w.Rollout.Spec.RestartAt)
			}
			for _, rs := range w.ReplicaSets() {
				for _, pod := range w.PodsOf(rs) {
					if pod.Created.Before(w.Rollout.Spec.RestartAt.Time) {
						t.Errorf("pod %d of %s is older than the restart", pod.Serial, rs.Name)
					}
				}
			}
			w.sizes(fmt32(test.replicas))
			if w.Written.Evictions != int(test.replicas) {
				t.Errorf("%d evictions of %d pods", w.Written.Evictions, test.replicas)
			}
		})
	}
}

// least is how many pods must be available at any time.
func (w *world) least() int32 {
	n, _, unavailable := bounds(w.Rollout)
	return n - unavailable
}

// settleWatching is settle, with a look at how many pods are available at every turn.
func (w *world) settleWatching(least int32) {
	w.t.Helper()
	for range 400 {
		w.Reconcile()
		var available int32
		for _, rs := range w.ReplicaSets() {
			available += w.Available(rs)
		}
		if available < least {
			w.t.Fatalf("%d pods are available, fewer than %d", available, least)
		}
		w.SyncAll()
		w.Sleep(500 * time.Millisecond)
		w.SyncAll()
	}
	w.settle()
}

func TestRestartInTheMiddleOfAnUpdateStaysAtItsStep(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	w.update("v2")
	w.step(1)
	w.Sleep(time.Minute)
	w.must(w.Restart())
	w.settle()
	w.step(1)
	w.pods("2 2")
	if w.Written.Evictions != 4 {
		t.Errorf("%d evictions, want 4", w.Written.Evictions)
	}
}

func TestRestartWaitsForItsTimeAndForABudget(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	at := metav1.NewTime(w.Now().Add(time.Hour))
	w.edit("restartAt", func(spec *rollouts.RolloutSpec) { spec.RestartAt = &at })
	w.Reconcile()
	w.SyncAll()
	if d := w.Reconcile(); w.Written.Evictions != 0 || d.RequeueAfter == 0 || d.RequeueAfter > time.Hour {
		t.Fatalf("%d evictions, next look after %v", w.Written.Evictions, d.RequeueAfter)
	}
	w.MinAvailable = 4
	w.Sleep(time.Hour + time.Second)
	for i := range 10 {
		if d := w.Reconcile(); i > 0 && len(d.Evict) > 0 {
			t.Fatalf("evicts again %d s after it was refused", i)
		}
		w.SyncAll()
		w.Sleep(time.Second)
	}
	if w.condition(rollouts.RolloutRestarting) != "True" || w.Written.Evictions != 0 {
		t.Fatalf("Restarting is %q, %d evictions", w.condition(rollouts.RolloutRestarting), w.Written.Evictions)
	}
	w.blockers("EvictionRefused")
	w.Sleep(time.Hour) // A budget is not the fault of the update: no deadline counts.
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "rollout is restarting")
	w.MinAvailable = 3
	w.settle()
	if w.condition(rollouts.RolloutRestarting) != "" || w.Written.Evictions != 4 {
		t.Errorf("Restarting is %q, %d evictions", w.condition(rollouts.RolloutRestarting), w.Written.Evictions)
	}
}

// TestRestartThatTheUpdateHoldsUp: what a budget forbade once does not stop the deadline of an update without whose
// pods no more can be evicted.
func TestRestartThatTheUpdateHoldsUp(t *testing.T) {
	heldUp := 0
	for others := range 4 { // Which pod of the two goes first depends on the nodes that they are on, and those on the others.
		w := newWorld(t, rollout(1))
		for i := range others {
			w.AddService(fmt.Sprint("other", i))
		}
		w.settle()
		work := func() {
			for range 5 {
				w.Reconcile()
				w.SyncAll()
				w.Sleep(time.Second)
			}
		}
		w.Sleep(time.Minute)
		w.MinAvailable = 12
		w.must(w.Restart())
		work()
		w.blockers("EvictionRefused")
		w.MinAvailable = 0
		w.edit("image bad1", image("bad1"))
		work()
		w.settle()
		w.degraded("ProgressDeadlineExceeded")
		if w.condition(rollouts.RolloutRestarting) != "" {
			heldUp++
		}
	}
	if heldUp == 0 {
		t.Error("the old pod was replaced each time")
	}
}

func TestRestartAskedForTwice(t *testing.T) {
	w := deployed(t, rollout(2, twoSteps...))
	w.must(w.Restart())
	w.refused(w.Restart(), engine.ReasonAlreadyRestarting)
	w.settle()
	w.Sleep(time.Minute)
	w.must(w.Restart())
}

func TestUnmetNamesEveryExpectationThatFails(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	r := w.Rollout
	all := &rollouts.VerbExpectation{Revision: ptr.To[int64](7), PodHash: "x", StepIndex: ptr.To[int32](0), UID: "y", ResourceVersion: "z"}
	var fields []string
	for _, m := range engine.Unmet(r, all) {
		fields = append(fields, m.Field)
	}
	if want := []string{"expect.revision", "expect.podHash", "expect.stepIndex", "expect.uid", "expect.resourceVersion"}; !slices.Equal(fields, want) {
		t.Errorf("failed %v, want %v", fields, want)
	}
	met := &rollouts.VerbExpectation{Revision: &r.Status.Revision, PodHash: r.Status.CurrentPodHash, StepIndex: r.Status.CurrentStepIndex, UID: r.UID, ResourceVersion: r.ResourceVersion}
	if got := engine.Unmet(r, met); got != nil {
		t.Errorf("failed %+v", got)
	}
	if got := engine.Unmet(r, &rollouts.VerbExpectation{}); got != nil {
		t.Errorf("nothing is expected, failed %+v", got)
	}
}

func TestRecordKeepsTheNewestTwenty(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	r := w.Rollout
	for i := range 25 {
		step := &engine.Transition{Rollout: r, Outcome: rollouts.ActionDone, Message: "done"}
		r = engine.Record(r, step, rollouts.RolloutAction{Verb: "promote", User: "u", RequestID: fmt32(int32(i)), BodyDigest: "d"})
	}
	actions := r.Status.Actions
	if len(actions) != 20 || actions[0].RequestID != "5" || actions[19].RequestID != "24" {
		t.Fatalf("%d actions, from %s to %s", len(actions), actions[0].RequestID, actions[len(actions)-1].RequestID)
	}
	for _, test := range []struct {
		verb, user, id, digest string
		found, reused          bool
	}{
		{"promote", "u", "24", "d", true, false},
		{"promote", "u", "", "d", false, false},
		{"promote", "u", "4", "d", false, false}, // Forgotten.
		{"abort", "u", "24", "d", false, true},
		{"promote", "v", "24", "d", false, true},
		{"promote", "u", "24", "e", false, true},
	} {
		action, err := engine.Repeated(r, test.verb, test.user, test.id, test.digest)
		if (action != nil) != test.found || (err != nil) != test.reused {
			t.Errorf("%+v: %v, %v", test, action, err)
		}
	}
}

// TestTheDeadlineStandsStillWhilePausedByHand, also where no pod could be moved meanwhile: it starts again with the end.
func TestTheDeadlineStandsStillWhilePausedByHand(t *testing.T) {
	w := deployed(t, rollout(4))
	w.edit("image bad1", image("bad1"))
	for range 5 {
		w.Reconcile()
		w.SyncAll()
		w.Sleep(time.Second)
	}
	w.edit("pause", paused(true))
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.Sleep(time.Hour)
	w.edit("resume", paused(false))
	w.Reconcile()
	if phase := w.Rollout.Status.Phase; phase != rollouts.RolloutPhaseProgressing {
		t.Fatalf("after a pause of an hour it is %s", phase)
	}
	w.settle()
	w.degraded("ProgressDeadlineExceeded")
}

// TestRestartReachesPodsOfThisVerySecond: when a pod was created is known to the second.
func TestRestartReachesPodsOfThisVerySecond(t *testing.T) {
	w := deployed(t, rollout(2))
	if w.Now().Equal(w.Now().Truncate(time.Second)) {
		w.Sleep(300 * time.Millisecond)
	}
	w.must(w.Restart())
	if at := w.Rollout.Spec.RestartAt; at.Time.Before(w.Now()) {
		t.Errorf("restarts what was created before %s, and it is %s", at, w.Now())
	}
}
