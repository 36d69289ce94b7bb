// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// history is a world in which so many revisions, v1 and on, were deployed one after the other, a minute apart.
func history(t *testing.T, revisions int, window int32, steps ...rollouts.CanaryStep) *world {
	t.Helper()
	r := rollout(2, steps...)
	r.Spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: window}
	w := deployed(t, r)
	for i := 2; i <= revisions; i++ {
		w.Sleep(time.Minute)
		w.update(fmt.Sprintf("v%d", i))
		w.must(w.Promote(true))
		w.settle()
		w.is(rollouts.RolloutPhaseHealthy, "")
	}
	return w
}

// A return to a revision with fewer ReplicaSets made between it and the stable one than the window says takes no
// steps; another takes all.
func TestRollbackWindow(t *testing.T) {
	for _, test := range []struct {
		revisions int
		window    int32
		to        string
		skips     bool
	}{
		{4, 2, "v3", true},
		{4, 2, "v2", true}, // Only v3 is between.
		{4, 2, "v1", false},
		{5, 2, "v2", false},
		{4, 1, "v3", true},
		{4, 1, "v2", false},
		{4, 0, "v3", false},
		{4, 9, "v1", true},
		{4, 9, "v9", false}, // No revision that was there.
	} {
		t.Run(fmt.Sprintf("%s of %d within %d", test.to, test.revisions, test.window), func(t *testing.T) {
			w := history(t, test.revisions, test.window, weight(50), pause(""))
			w.update(test.to)
			if !test.skips {
				w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
				w.step(1)
				return
			}
			w.is(rollouts.RolloutPhaseHealthy, "")
			w.step(2)
			last := w.Events[len(w.Events)-1]
			if !strings.HasSuffix(last.Message, ": Rollback within window") {
				t.Errorf("the last event is %q", last.Message)
			}
			// Forward again is no return: the newest ReplicaSet was made after that of the stable revision.
			w.update(fmt.Sprintf("v%d", test.revisions))
			w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
		})
	}
}

// Without a window nothing is skipped, and a revision that was aborted is none to go back to.
func TestRollbackWindowIsForWhatWasStable(t *testing.T) {
	w := history(t, 2, 5, weight(50), pause(""))
	w.Sleep(time.Minute)
	w.update("v3")
	w.must(w.Abort())
	w.Sleep(time.Minute)
	w.update("v4")
	w.must(w.Promote(true))
	w.settle()
	w.update("v3")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.edit("no window", func(spec *rollouts.RolloutSpec) { spec.RollbackWindow = nil })
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
}

// An abort of such a return goes back as any other, and a retry takes the steps.
func TestRollbackWithinWindowCanBeAborted(t *testing.T) {
	w := history(t, 3, 5, weight(50), pause(""))
	w.edit("v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	w.step(2)
	w.must(w.Abort())
	w.settle()
	w.pods("0 0 2")
	w.must(w.Retry())
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
}

// To skip an approval by the window needs the right to override.
func TestRollbackWindowNeedsOverrideToSkipAnApproval(t *testing.T) {
	w := history(t, 3, 1, weight(50), approval(1))
	back := w.Rollout.DeepCopy()
	image("v2")(&back.Spec)
	res := engine.Resolve(w.Rollout, &back.Spec.Template, w.ReplicaSets())
	if res.Window != 1 {
		t.Fatalf("resolved as %+v", res)
	}
	got := engine.RightsToReturn(w.Rollout, back, &res)
	if len(got) != 1 || got[0].Right != engine.RightOverride || got[0].Field != "spec.rollbackWindow" {
		t.Errorf("needs %+v", got)
	}
	for name, free := range map[string]func(*rollouts.Rollout){
		"no window":     func(r *rollouts.Rollout) { r.Spec.RollbackWindow = nil },
		"a window of 0": func(r *rollouts.Rollout) { r.Spec.RollbackWindow.Revisions = 0 },
		"no approval":   func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{weight(50), pause("")} },
		"no steps":      func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps = nil },
	} {
		other := back.DeepCopy()
		free(other)
		if got := engine.RightsToReturn(w.Rollout, other, &res); got != nil {
			t.Errorf("%s: needs %+v", name, got)
		}
	}
	if got := engine.RightsToReturn(w.Rollout, back, nil); got != nil {
		t.Errorf("the same template needs %+v", got)
	}

	_, err := engine.Undo(w.Rollout, w.ReplicaSets(), 2, engine.Actor{Name: "somebody"}, w.Now())
	var forbidden *engine.Forbidden
	if !errors.As(err, &forbidden) || forbidden.Reason != engine.ReasonOverrideNeeded || ptr.Deref(forbidden.Missing, engine.Right{}) != engine.RightOverride {
		t.Errorf("undo: %v", err)
	}
	done, err := engine.Undo(w.Rollout, w.ReplicaSets(), 2, engine.Actor{Name: "boss", Rights: []engine.Right{engine.RightOverride}}, w.Now())
	if err != nil || *done.Rollout.Status.CurrentStepIndex != 2 || done.Outcome != rollouts.ActionOverridden {
		t.Errorf("undo with the right: %+v, %v", done, err)
	}
}
