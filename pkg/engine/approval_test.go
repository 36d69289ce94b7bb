// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// member is somebody in the group of release managers.
func member(name string) engine.Actor {
	return engine.Actor{Name: name, Groups: []string{"everybody", "release-managers"}}
}

// overrider may skip approvals.
func overrider(name string) engine.Actor {
	return engine.Actor{Name: name, Rights: []engine.Right{engine.RightOverride}}
}

// atApproval is a world in which carol's update waits for two release managers.
func atApproval(t *testing.T) *world {
	w := deployed(t, rollout(4, weight(25), approval(2, "release-managers"), weight(50), pause("")))
	w.EditAs("carol", "v2", image("v2"))
	w.settle()
	w.step(1)
	return w
}

func (w *world) promote(who engine.Actor) error {
	return w.PromoteAs(who, engine.PromoteOptions{})
}

// forbidden checks that an error names a reason.
func (w *world) forbidden(err error, reason string) {
	w.t.Helper()
	var forbidden *engine.Forbidden
	if !errors.As(err, &forbidden) || forbidden.Reason != reason {
		w.t.Fatalf("got %v, want forbidden with reason %s", err, reason)
	}
}

func TestApprovalCountsDifferentMembersWhoAreNoAuthors(t *testing.T) {
	w := atApproval(t)
	w.forbidden(w.promote(engine.Actor{Name: "eve", Groups: []string{"everybody"}}), engine.ReasonNotInGroups)
	w.forbidden(w.promote(member("carol")), engine.ReasonAuthorMayNotApprove)
	w.must(w.promote(member("alice")))
	w.step(1)
	if got := w.Rollout.Status.Approvals; len(got) != 1 || got[0].User != "alice" {
		t.Fatalf("approvals %+v", got)
	}
	w.refused(w.promote(member("alice")), engine.ReasonAlreadyApproved)
	w.settle()
	w.step(1)
	w.must(w.promote(member("bob")))
	w.step(2)
	if got := w.Rollout.Status.Approvals; len(got) != 0 {
		t.Errorf("approvals are left after the step: %+v", got)
	}
}

// TestApprovalsThatShouldNotBeThereDoNotCount, whoever wrote them: with that of bob they are enough for the careless.
func TestApprovalsThatShouldNotBeThereDoNotCount(t *testing.T) {
	for what, forge := range map[string]func(*rollouts.RolloutApproval){
		"the same person twice": func(*rollouts.RolloutApproval) {},
		"an author":             func(a *rollouts.RolloutApproval) { a.User = "carol" },
		"of another revision":   func(a *rollouts.RolloutApproval) { a.User, a.Revision = "dave", a.Revision-1 },
		"of another step":       func(a *rollouts.RolloutApproval) { a.User, a.StepIndex = "dave", a.StepIndex+2 },
		"of other steps":        func(a *rollouts.RolloutApproval) { a.User, a.StepHash = "dave", "0123" },
	} {
		t.Run(what, func(t *testing.T) {
			w := deployed(t, rollout(4, weight(25), approval(3, "release-managers"), weight(50), pause("")))
			w.EditAs("carol", "v2", image("v2"))
			w.settle()
			w.must(w.promote(member("alice")))
			w.Rollout = w.Rollout.DeepCopy()
			forged := w.Rollout.Status.Approvals[0]
			forge(&forged)
			w.Rollout.Status.Approvals = append(w.Rollout.Status.Approvals, forged)
			w.must(w.promote(member("bob")))
			w.step(1)
			w.must(w.promote(member("erin")))
			w.step(2)
		})
	}
}

func TestApprovalShortOfRequiredSaysWhoIsStillNeeded(t *testing.T) {
	w := atApproval(t)
	short, err := engine.Promote(w.Rollout, engine.PromoteOptions{}, member("alice"), w.Now())
	w.must(err)
	if short.Outcome != rollouts.ActionApproved || *short.Rollout.Status.CurrentStepIndex != 1 {
		t.Errorf("outcome %s at step %d", short.Outcome, *short.Rollout.Status.CurrentStepIndex)
	}
	for _, part := range []string{"1 of 2", "alice", "1 more needed", "release-managers", "carol"} {
		if !strings.Contains(short.Message, part) {
			t.Errorf("message %q does not name %q", short.Message, part)
		}
	}
}

func TestApprovalsExpire(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), approval(2)))
	w.edit("expiry", func(spec *rollouts.RolloutSpec) {
		spec.Strategy = *spec.Strategy.DeepCopy()
		spec.Strategy.Canary.Steps[1].Pause.Approval.ExpireAfter = ptr.To(intstr.FromString("1h"))
	})
	w.update("v2")
	w.must(w.promote(member("alice")))
	w.Sleep(time.Hour - time.Second)
	w.refused(w.promote(member("alice")), engine.ReasonAlreadyApproved)
	w.Sleep(time.Second + time.Microsecond) // Times are kept rounded up.
	w.must(w.promote(member("bob")))
	w.step(1)
	w.must(w.promote(member("alice")))
	w.step(2)
}

// TestApprovalsAreVoidOnce: whatever changes what would be promoted takes approvals back.
func TestApprovalsAreVoidOnce(t *testing.T) {
	for what, change := range map[string]func(w *world){
		"the template changes": func(w *world) { w.EditAs("carol", "v3", image("v3")) },
		"the steps change": func(w *world) {
			w.edit("steps", func(spec *rollouts.RolloutSpec) {
				spec.Strategy.Canary = spec.Strategy.Canary.DeepCopy()
				spec.Strategy.Canary.Steps = append(spec.Strategy.Canary.Steps, pause("1h"))
			})
		},
		"it is aborted and retried": func(w *world) { w.must(w.Abort()); w.settle(); w.must(w.Retry()) },
		"it is undone and done again": func(w *world) {
			w.must(w.Undo(0))
			w.EditAs("carol", "v2", image("v2"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := atApproval(t)
			w.must(w.promote(member("alice")))
			change(w)
			if got := w.Rollout.Status.Approvals; len(got) != 0 {
				t.Fatalf("still approved: %+v", got)
			}
			w.settle()
			w.step(1)
			w.must(w.promote(member("bob")))
			w.step(1)
		})
	}
}

// TestTwoEditorsCannotLaunderATemplate: whoever has changed the template since the last stable revision is an
// author, by whatever detour, and an approval that an author gave before does not count any more.
func TestTwoEditorsCannotLaunderATemplate(t *testing.T) {
	w := atApproval(t)
	w.EditAs("alice", "v1", image("v1")) // Back to stable, as if nothing had been.
	w.EditAs("alice", "v2", image("v2")) // The template that carol wrote.
	w.settle()
	w.forbidden(w.promote(member("carol")), engine.ReasonAuthorMayNotApprove)
	w.forbidden(w.promote(member("alice")), engine.ReasonAuthorMayNotApprove)

	w = atApproval(t)
	w.must(w.promote(member("alice")))
	w.EditAs("alice", "v3", image("v3"))
	w.EditAs("carol", "v2", image("v2"))
	w.settle()
	w.forbidden(w.promote(member("alice")), engine.ReasonAuthorMayNotApprove)
	w.must(w.promote(member("bob")))
	w.step(1)
}

func TestAuthorsAreForgottenWithTheNextStableRevision(t *testing.T) {
	w := atApproval(t)
	w.must(w.promote(member("alice")))
	w.must(w.promote(member("bob")))
	w.settle()
	w.must(w.promote(member("bob")))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	if got := w.Rollout.Status.TemplateAuthors; len(got) != 0 {
		t.Fatalf("authors %v", got)
	}
	w.EditAs("dan", "v3", image("v3"))
	w.settle()
	w.must(w.promote(member("carol")))
}

func TestAnUnknownAuthorNeedsOverride(t *testing.T) {
	w := atApproval(t)
	r := w.Rollout.DeepCopy()
	r.Status.TemplateAuthors = nil
	_, err := engine.Promote(r, engine.PromoteOptions{}, member("alice"), w.Now())
	w.forbidden(err, engine.ReasonAuthorUnknown)
	if _, err := engine.Promote(r, engine.PromoteOptions{Override: true}, overrider("alice"), w.Now()); err != nil {
		t.Error(err)
	}
}

func TestOverride(t *testing.T) {
	for name, test := range map[string]struct {
		options engine.PromoteOptions
		who     engine.Actor
		reason  string
		step    int32
	}{
		"a step without the right":         {engine.PromoteOptions{Override: true}, member("alice"), engine.ReasonOverrideNeeded, 1},
		"a step":                           {engine.PromoteOptions{Override: true}, overrider("alice"), "", 2},
		"a step, though an author":         {engine.PromoteOptions{Override: true}, overrider("carol"), "", 2},
		"full without the right":           {engine.PromoteOptions{Full: true}, member("alice"), engine.ReasonOverrideNeeded, 1},
		"full":                             {engine.PromoteOptions{Full: true}, overrider("alice"), "", 4},
		"the right alone does not skip":    {engine.PromoteOptions{}, overrider("eve"), engine.ReasonNotInGroups, 1},
		"full and override, not the right": {engine.PromoteOptions{Full: true, Override: true}, member("alice"), engine.ReasonOverrideNeeded, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := atApproval(t)
			err := w.PromoteAs(test.who, test.options)
			if test.reason != "" {
				w.forbidden(err, test.reason)
			} else {
				w.must(err)
			}
			w.step(test.step)
		})
	}
}

func TestOverrideOfNothingIsRefused(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	w.refused(w.PromoteAs(overrider("alice"), engine.PromoteOptions{Override: true}), engine.ReasonNothingToOverride)
}

func TestFullPastAnApprovalNeedsOverrideWhileOneIsAhead(t *testing.T) {
	w := atApproval(t)
	w.must(w.promote(member("alice")))
	w.must(w.promote(member("bob")))
	w.must(w.PromoteAs(member("eve"), engine.PromoteOptions{Full: true}))
}

func TestAbortIsNeverBlocked(t *testing.T) {
	w := atApproval(t)
	w.must(w.Abort())
	w.settle()
	w.forbidden(w.PromoteAs(member("alice"), engine.PromoteOptions{Full: true}), engine.ReasonOverrideNeeded)
	w.must(w.Retry())
	w.settle()
	w.step(1)
}
