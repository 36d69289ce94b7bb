// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

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
	{"at a timed pause", []rollouts.CanaryStep{weight(20), pause("1h")}, func(w *world) {
		w.settle()
		w.edit("v2", image("v2"))
		w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	}},
	{"at a pause for approval", []rollouts.CanaryStep{weight(20), approval(1)}, func(w *world) { w.settle(); w.update("v2") }},
	{"deadline exceeded", twoSteps, func(w *world) { w.settle(); w.update("bad"); w.degraded("ProgressDeadlineExceeded") }},
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
	{"held", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.putBack(w.Rollout) }},
	{"held, aborted", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.must(w.Abort()); w.settle(); w.putBack(w.Rollout) }},
	{"back at stable", twoSteps, func(w *world) { w.settle(); w.update("v2"); w.edit("v1", image("v1")); w.Reconcile() }},
}

var (
	oneStep  = []rollouts.CanaryStep{weight(20)}
	twoSteps = []rollouts.CanaryStep{weight(20), pause("")}
)

// verbTable is every verb in every state: the reason of its refusal, or "" if it acts. docs/verbs.md has the
// same table for people.
var verbTable = map[string]map[string]string{
	"just created, not observed": {"promote": "NotObserved", "full": "NotObserved", "abort": "NoStable", "retry": "NotObserved", "pause": "", "resume": "NotPaused", "restart": "", "undo": "NotObserved"},
	"first deployment in flight": {"promote": "NothingInFlight", "full": "NothingInFlight", "abort": "NoStable", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": "NoSuchRevision"},
	"Healthy":                    {"promote": "NothingInFlight", "full": "NothingInFlight", "abort": "NothingInFlight", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": "NoSuchRevision"},
	"update not observed":        {"promote": "NotObserved", "full": "NotObserved", "abort": "", "retry": "NotObserved", "pause": "", "resume": "NotPaused", "restart": "", "undo": "NotObserved"},
	"update at its first step":   {"promote": "", "full": "", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"at a pause":                 {"promote": "", "full": "", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"at a timed pause":           {"promote": "", "full": "", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"at a pause for approval":    {"promote": "", "full": "OverrideNeeded", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"at a pause, paused by hand": {"promote": "ManuallyPaused", "full": "ManuallyPaused", "abort": "", "retry": "NotAborted", "pause": "AlreadyPaused", "resume": "", "restart": "", "undo": ""},
	"past the last step":         {"promote": "NothingInFlight", "full": "", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"rolling update":             {"promote": "NothingInFlight", "full": "", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"deadline exceeded":          {"promote": "", "full": "", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"aborted":                    {"promote": "Aborted", "full": "", "abort": "AlreadyAborted", "retry": "", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"promoted in full":           {"promote": "AlreadyPromotingFull", "full": "AlreadyPromotingFull", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": ""},
	"held":                       {"promote": "Held", "full": "Held", "abort": "", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": "Held"},
	"held, aborted":              {"promote": "Held", "full": "Held", "abort": "AlreadyAborted", "retry": "Held", "pause": "", "resume": "NotPaused", "restart": "", "undo": "Held"},
	"back at stable":             {"promote": "NothingInFlight", "full": "NothingInFlight", "abort": "NothingInFlight", "retry": "NotAborted", "pause": "", "resume": "NotPaused", "restart": "", "undo": "NoSuchRevision"},
}

var verbsAsked = []string{"promote", "full", "abort", "retry", "pause", "resume", "restart", "undo"}

// TestVerbs is every verb in every state: what it answers, and what it leaves.
func TestVerbs(t *testing.T) {
	for _, state := range verbStates {
		for _, verb := range verbsAsked {
			t.Run(state.name+"/"+verb, func(t *testing.T) {
				w := newWorld(t, rollout(4, state.steps...))
				if state.reach != nil {
					state.reach(w)
				}
				before := w.Rollout.DeepCopy()
				after, err := ask(w, verb)
				if !apiequality.Semantic.DeepEqual(before, w.Rollout) {
					t.Error("the input was modified")
				}
				reason, known := verbTable[state.name][verb]
				if !known {
					t.Fatal("no expectation")
				}
				if reason != "" {
					checkRefusal(t, err, reason)
					return
				}
				w.must(err)
				if after.Outcome != rollouts.ActionDone || after.Message == "" {
					t.Errorf("outcome %q, message %q", after.Outcome, after.Message)
				}
				checkVerb(t, verb, before, after.Rollout)
			})
		}
	}
}

// putBack makes an older copy the stored one, after the revision that it does not know of was rolled out.
func (w *world) putBack(old *rollouts.Rollout) {
	w.update("newer")
	old = old.DeepCopy()
	old.ResourceVersion = w.Rollout.ResourceVersion
	w.Cluster.Rollout = old
	w.Reconcile()
}

// somebody may promote, and nothing more.
var somebody = engine.Actor{Name: "somebody"}

func ask(w *world, verb string) (*engine.Transition, error) {
	switch verb {
	case "promote":
		return engine.Promote(w.Rollout, engine.PromoteOptions{}, somebody, w.Now())
	case "full":
		return engine.Promote(w.Rollout, engine.PromoteOptions{Full: true}, somebody, w.Now())
	case "abort":
		return engine.Abort(w.Rollout, w.Now())
	case "retry":
		return engine.Retry(w.Rollout, w.Now())
	case "pause":
		return engine.Pause(w.Rollout, w.Now())
	case "resume":
		return engine.Resume(w.Rollout, w.Now())
	case "restart":
		return engine.Restart(w.Rollout, nil, w.Now())
	default:
		return engine.Undo(w.Rollout, w.ReplicaSets(), 0, somebody, w.Now())
	}
}

// checkRefusal: only what will change by itself says when to ask again, and every refusal says why.
func checkRefusal(t *testing.T, err error, reason string) {
	t.Helper()
	var refusal *engine.Refusal
	var forbidden *engine.Forbidden
	switch {
	case errors.As(err, &forbidden):
		if forbidden.Reason != reason || forbidden.Message == "" {
			t.Errorf("forbidden %+v, want %s", forbidden, reason)
		}
	case errors.As(err, &refusal):
		if refusal.Reason != reason || refusal.Message == "" || (refusal.RetryAfter == time.Second) != (refusal.Reason == engine.ReasonNotObserved) {
			t.Errorf("refusal %+v, want %s", refusal, reason)
		}
	default:
		t.Fatalf("got %v, want %s", err, reason)
	}
}

// checkVerb holds what a verb leaves against what its reply must show at once.
func checkVerb(t *testing.T, verb string, before, after *rollouts.Rollout) {
	t.Helper()
	was, is := before.Status, after.Status
	specChanged := !apiequality.Semantic.DeepEqual(before.Spec, after.Spec)
	switch verb {
	case "pause", "resume", "restart", "undo":
		if !specChanged {
			t.Error("the spec is unchanged")
		}
	default:
		if specChanged {
			t.Error("the spec was changed")
		}
		if len(is.PauseConditions) > 0 || is.ControllerPause {
			t.Error("still paused")
		}
	}
	switch verb {
	case "pause":
		if !after.Spec.Paused || is.Phase != rollouts.RolloutPhasePaused && is.Phase != rollouts.RolloutPhaseDegraded {
			t.Errorf("paused %v, %s", after.Spec.Paused, is.Phase)
		}
	case "resume":
		if after.Spec.Paused || !ptr.Equal(is.CurrentStepIndex, was.CurrentStepIndex) || len(is.PauseConditions) != len(was.PauseConditions) {
			t.Errorf("%+v", is)
		}
	case "restart":
		if after.Spec.RestartAt == nil || is.RestartedAt != nil {
			t.Errorf("restartAt %v, restartedAt %v", after.Spec.RestartAt, is.RestartedAt)
		}
	case "undo":
		if is.Revision != was.Revision+1 || is.CurrentPodHash != was.StableRS || is.Abort {
			t.Errorf("%+v", is)
		}
		if !slices.Contains(is.TemplateAuthors, somebody.Name) {
			t.Errorf("authors %v", is.TemplateAuthors)
		}
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
