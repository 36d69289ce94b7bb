// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"testing"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// The states of TestVerbs, each reached by the way people get there.
var verbStates = []struct {
	name  string
	steps []rollouts.CanaryStep
	reach func(w *world)
}{
	{"just created, not observed", twoSteps, nil},
	{"first deployment in flight", twoSteps, func(w *world) { w.Reconcile() }},
	{"Healthy", twoSteps, func(w *world) { w.settle() }},
	{"update not observed", twoSteps, func(w *world) { w.settle(); w.edit("v2", image("v2")) }},
	{"update at its first step", twoSteps, func(w *world) { w.settle(); w.edit("v2", image("v2")); w.Reconcile() }},
	{"at a pause", twoSteps, func(w *world) { w.settle(); w.update("v2") }},
	{"at a pause, paused by hand", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.edit("paused", paused(true)); w.settle() }},
	{"past the last step", oneStep, func(w *world) {
		w.settle()
		w.edit("v2", image("v2"))
		for w.Rollout.Status.CurrentStepIndex == nil || *w.Rollout.Status.CurrentStepIndex == 0 {
			w.Reconcile()
			w.SyncAll()
			w.Sleep(time.Second)
			w.SyncAll()
		}
	}},
	{"rolling update", nil, func(w *world) { w.settle(); w.edit("v2", image("v2")); w.Reconcile() }},
	{"aborted", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.must(w.Abort()); w.settle() }},
	{"promoted in full", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.must(w.Promote(true)) }},
	{"back at stable", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.edit("v1", image("v1")); w.Reconcile() }},
}

var (
	oneStep  = []rollouts.CanaryStep{weight(20)}
	twoSteps = []rollouts.CanaryStep{weight(20), pause("")}
)

// TestVerbs is every verb in every state: what it answers, and what it leaves.
func TestVerbs(t *testing.T) {
	const ok = ""
	want := map[string]map[string]string{
		"just created, not observed": {"promote": "NotObserved", "full": "NotObserved", "abort": "NoStable", "retry": "NotObserved"},
		"first deployment in flight": {"promote": "NothingInFlight", "full": "NothingInFlight", "abort": "NoStable", "retry": "NotAborted"},
		"Healthy":                    {"promote": "NothingInFlight", "full": "NothingInFlight", "abort": "NothingInFlight", "retry": "NotAborted"},
		"update not observed":        {"promote": "NotObserved", "full": "NotObserved", "abort": ok, "retry": "NotObserved"},
		"update at its first step":   {"promote": ok, "full": ok, "abort": ok, "retry": "NotAborted"},
		"at a pause":                 {"promote": ok, "full": ok, "abort": ok, "retry": "NotAborted"},
		"at a pause, paused by hand": {"promote": "ManuallyPaused", "full": "ManuallyPaused", "abort": ok, "retry": "NotAborted"},
		"past the last step":         {"promote": "NothingInFlight", "full": ok, "abort": ok, "retry": "NotAborted"},
		"rolling update":             {"promote": "NothingInFlight", "full": ok, "abort": ok, "retry": "NotAborted"},
		"aborted":                    {"promote": "Aborted", "full": ok, "abort": "AlreadyAborted", "retry": ok},
		"promoted in full":           {"promote": "AlreadyPromotingFull", "full": "AlreadyPromotingFull", "abort": ok, "retry": "NotAborted"},
		"back at stable":             {"promote": "NothingInFlight", "full": "NothingInFlight", "abort": "NothingInFlight", "retry": "NotAborted"},
	}
	for _, state := range verbStates {
		for _, verb := range []string{"promote", "full", "abort", "retry"} {
			t.Run(state.name+"/"+verb, func(t *testing.T) {
				w := newWorld(t, rollout(4, state.steps...))
				if state.reach != nil {
					state.reach(w)
				}
				before := w.Rollout
				after, err := ask(w, verb)
				reason, known := want[state.name][verb]
				if !known {
					t.Fatal("no expectation")
				}
				if reason != ok {
					w.refused(err, reason)
					checkRefusal(t, err)
					return
				}
				w.must(err)
				checkVerb(t, verb, before, after)
			})
		}
	}
}

func ask(w *world, verb string) (*rollouts.Rollout, error) {
	switch verb {
	case "promote":
		return engine.Promote(w.Rollout, false, w.Now())
	case "full":
		return engine.Promote(w.Rollout, true, w.Now())
	case "abort":
		return engine.Abort(w.Rollout, w.Now())
	default:
		return engine.Retry(w.Rollout, w.Now())
	}
}

// checkRefusal: only what will change by itself says when to ask again, and every refusal says why.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var refusal *engine.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%T is no *Refusal", err)
	}
	if refusal.Message == "" || (refusal.RetryAfter == time.Second) != (refusal.Reason == engine.ReasonNotObserved) {
		t.Errorf("refusal %+v", refusal)
	}
}

// checkVerb holds what a verb leaves against what its reply must show at once.
func checkVerb(t *testing.T, verb string, before, after *rollouts.Rollout) {
	t.Helper()
	was, is := before.Status, after.Status
	if len(is.PauseConditions) > 0 || is.ControllerPause {
		t.Error("still paused")
	}
	if after.Generation != before.Generation {
		t.Error("a verb is no change of the spec")
	}
	switch verb {
	case "promote":
		if *is.CurrentStepIndex != *was.CurrentStepIndex+1 || is.Phase != rollouts.RolloutPhaseProgressing {
			t.Errorf("at step %d, %s", *is.CurrentStepIndex, is.Phase)
		}
	case "full":
		if !is.PromoteFull || is.Abort || is.AbortedAt != nil || is.Phase != rollouts.RolloutPhaseProgressing || engine.SetWeight(after) != 100 {
			t.Errorf("%+v", is)
		}
	case "abort":
		if !is.Abort || is.AbortedAt == nil || is.PromoteFull || is.Phase != rollouts.RolloutPhaseDegraded || engine.SetWeight(after) != 0 {
			t.Errorf("%+v", is)
		}
		if is.CurrentStepIndex != nil && *is.CurrentStepIndex != 0 {
			t.Errorf("at step %d, want 0", *is.CurrentStepIndex)
		}
	case "retry":
		if is.Abort || is.AbortedAt != nil || *is.CurrentStepIndex != 0 || is.Phase != rollouts.RolloutPhaseProgressing {
			t.Errorf("%+v", is)
		}
	}
}

// TestVerbConditions: generic waiters see in the reply itself what a verb did.
func TestVerbConditions(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.conditions("True False False")
	w.update("v2")
	w.conditions("False False False")
	w.must(w.Promote(false))
	w.conditions("False True False")
	w.must(w.Abort())
	w.conditions("False False True")
	w.must(w.Retry())
	w.conditions("False True False")
}

// conditions checks Ready, Reconciling and Stalled.
func (w *world) conditions(want string) {
	w.t.Helper()
	got := w.condition(rollouts.RolloutReady) + " " + w.condition(rollouts.RolloutReconciling) + " " + w.condition(rollouts.RolloutStalled)
	if got != want {
		w.t.Fatalf("Ready, Reconciling, Stalled are %s, want %s", got, want)
	}
}
