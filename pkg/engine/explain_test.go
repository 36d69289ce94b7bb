// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

func fmt32(n int32) string { return fmt.Sprint(n) }

// acting is a controller that acts.
var acting = engine.ControllerState{Acting: true}

// blockers checks the codes of what Explain says now.
func (w *world) blockers(want string) []rollouts.Blocker {
	w.t.Helper()
	blockers := engine.Explain(w.Snapshot(), acting)
	var codes []string
	for _, b := range blockers {
		codes = append(codes, string(b.Code))
		if b.Message == "" {
			w.t.Errorf("%s says nothing", b.Code)
		}
	}
	if strings.Join(codes, " ") != want {
		w.t.Fatalf("blockers %v, want %s", codes, want)
	}
	return blockers
}

func TestExplain(t *testing.T) {
	for name, test := range map[string]struct {
		reach   func(w *world)
		codes   string
		message string
		next    string
	}{
		"Healthy":       {func(*world) {}, "", "", ""},
		"not observed":  {func(w *world) { w.edit("v2", image("v2")) }, "NotObserved", "generation 2, observed 1", ""},
		"moving":        {func(w *world) { w.edit("v2", image("v2")); w.Reconcile() }, "", "", ""},
		"paused":        {func(w *world) { w.update("v2") }, "Paused", "step 1/2", "promote"},
		"aborted":       {func(w *world) { w.update("v2"); w.must(w.Abort()); w.settle() }, "Aborted", "aborted", "retry"},
		"paused twice":  {func(w *world) { w.update("v2"); w.must(w.Pause()); w.settle() }, "ManuallyPaused Paused", "spec.paused", "resume"},
		"deadline":      {func(w *world) { w.update("bad") }, "ProgressDeadlineExceeded", "10m0s", "abort"},
		"promoted full": {func(w *world) { w.update("v2"); w.must(w.Promote(true)) }, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(4, twoSteps...))
			test.reach(w)
			blockers := w.blockers(test.codes)
			if len(blockers) == 0 {
				return
			}
			first := blockers[0]
			if !strings.Contains(first.Message, test.message) {
				t.Errorf("message %q does not say %q", first.Message, test.message)
			}
			if test.next != "" && first.Next != "kubectl sluice "+test.next+" demo -n default" {
				t.Errorf("next is %q", first.Next)
			}
			if name != "not observed" && name != "paused twice" && first.Since == nil {
				t.Error("since when?")
			}
		})
	}
}

func TestExplainTimedPause(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), pause("1h")))
	w.edit("v2", image("v2"))
	w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.Sleep(20 * time.Minute)
	b := w.blockers("TimedPause")[0]
	if left := b.Until.Sub(w.Now()); left < 39*time.Minute || left > 41*time.Minute || !strings.Contains(b.Message, "40m0s are left") && !strings.Contains(b.Message, "39m5") {
		t.Errorf("%v left, %q", left, b.Message)
	}
}

func TestExplainApprovalSaysWhoIsNeeded(t *testing.T) {
	w := atApproval(t)
	w.must(w.promote(member("alice")))
	b := w.blockers("ApprovalMissing")[0]
	for _, part := range []string{"1 of 2 given (by alice)", "release-managers", "carol"} {
		if !strings.Contains(b.Message, part) {
			t.Errorf("message %q does not say %q", b.Message, part)
		}
	}
}

func TestExplainController(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	since := w.Now().Add(-time.Minute)
	got := engine.Explain(w.Snapshot(), engine.ControllerState{Message: "nobody holds the Lease", Since: since})
	if len(got) != 1 || got[0].Code != rollouts.BlockerControllerStopped || !strings.Contains(got[0].Message, "nobody holds the Lease") || got[0].Since == nil {
		t.Errorf("%+v", got)
	}
}

func TestExplainBeingDeletedAndHeld(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	s := w.Snapshot()
	s.Rollout = s.Rollout.DeepCopy()
	now := metav1.NewTime(w.Now())
	s.Rollout.DeletionTimestamp = &now
	if got := engine.Explain(s, acting); len(got) != 1 || got[0].Code != rollouts.BlockerBeingDeleted {
		t.Errorf("%+v", got)
	}
	s.Rollout.DeletionTimestamp = nil
	s.Rollout.Status.Conditions = append(s.Rollout.Status.Conditions, rollouts.RolloutCondition{Type: rollouts.RolloutHeld, Status: corev1.ConditionTrue, Message: "held"})
	if got := engine.Explain(s, acting); len(got) != 1 || got[0].Code != rollouts.BlockerHeld {
		t.Errorf("%+v", got)
	}
}

// A deletion that hangs says on whom.
func TestExplainNamesFinalizers(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	s := w.Snapshot()
	s.Rollout = s.Rollout.DeepCopy()
	s.Rollout.DeletionTimestamp, s.Rollout.Finalizers = ptr.To(metav1.NewTime(w.Now())), []string{"example.com/hold"}
	if got := engine.Explain(s, acting); len(got) != 1 || !strings.Contains(got[0].Message, "example.com/hold") {
		t.Errorf("%+v", got)
	}
}

// Who paused or aborted is told only of what he did.
func TestExplainBlamesNobodyElse(t *testing.T) {
	act := func(verb string, at time.Time) rollouts.RolloutAction {
		return rollouts.RolloutAction{Verb: verb, User: "alice", Reason: "errors", Revision: 2, Time: metav1.NewMicroTime(at)}
	}
	for name, test := range map[string]struct {
		reach   func(w *world)
		actions []rollouts.RolloutAction
		alice   bool
		since   time.Duration
	}{
		"paused by the verb":         {func(w *world) { w.edit("pause", paused(true)); w.settle() }, []rollouts.RolloutAction{act("pause", start)}, true, 0},
		"paused by an edit":          {func(w *world) { w.edit("pause", paused(true)); w.settle() }, nil, false, time.Second},
		"paused by an edit later on": {func(w *world) { w.edit("pause", paused(true)); w.settle() }, []rollouts.RolloutAction{act("pause", start), act("resume", start.Add(time.Second))}, false, time.Second},
		"aborted by the verb": {func(w *world) { w.update("v2"); w.must(w.Abort()); w.settle() },
			[]rollouts.RolloutAction{act("abort", start.Add(time.Hour))}, true, 2 * time.Second},
		"aborted for the deadline": {func(w *world) {
			w.edit("abort", func(spec *rollouts.RolloutSpec) { spec.ProgressDeadlineAbort = true })
			w.update("bad")
		}, []rollouts.RolloutAction{act("abort", start)}, false, 10*time.Minute + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(4, twoSteps...))
			test.reach(w)
			s := w.Snapshot()
			s.Rollout = s.Rollout.DeepCopy()
			s.Rollout.Status.Actions = test.actions
			got := engine.Explain(s, acting)
			if len(got) == 0 || strings.Contains(got[0].Message, "by user alice: errors") != test.alice {
				t.Fatalf("%+v", got)
			}
			if since := got[0].Since; since == nil || since.Sub(start).Round(time.Second) != test.since {
				t.Errorf("since %v", since)
			}
		})
	}
}

// An abort with nothing to go back to says so: it would wait for ever.
func TestExplainAbortWithoutStable(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	w.must(w.Abort())
	w.Remove(w.Find(w.Rollout.Status.StableRS), true)
	w.Reconcile()
	if b := w.blockers("Aborted")[0]; !strings.Contains(b.Message, "nothing to go back to") {
		t.Errorf("message %q", b.Message)
	}
}
