// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Ways around approvals, each of which somebody would find: who has changed what is to be approved must not be
// forgotten, and what was given for one thing must not count for another.

func TestWhoUndoesIsAnAuthor(t *testing.T) {
	w := atApproval(t)
	w.must(w.promote(member("alice")))
	w.must(w.promote(member("bob")))
	w.settle()
	w.must(w.promote(member("bob")))
	w.settle()
	w.EditAs("dan", "v3", image("v3"))
	w.settle()
	w.must(w.promote(member("alice")))
	w.must(w.UndoAs("alice", 1)) // Not to the stable revision, which is 2: an update like any other.
	w.settle()
	w.step(1)
	w.forbidden(w.promote(member("alice")), engine.ReasonAuthorMayNotApprove)
	w.must(w.promote(member("bob")))
	w.step(1)
	w.must(w.promote(member("carol")))
	w.step(2)
}

// TestNoReplicasAreNoWayAround: without pods every weight is reached at once and everything is available, and a gate
// still is a gate; nothing becomes stable, so that nobody is forgotten.
func TestNoReplicasAreNoWayAround(t *testing.T) {
	w := atApproval(t)
	w.must(w.promote(member("alice")))
	w.edit("replicas 0", scale(0))
	w.settle()
	w.step(1)
	w.EditAs("erin", "v3", image("v3"))
	w.settle()
	w.step(1)
	w.edit("replicas 4", scale(4))
	w.settle()
	w.step(1)
	w.pods("3 0 1")
	for _, author := range []string{"carol", "erin"} {
		w.forbidden(w.promote(member(author)), engine.ReasonAuthorMayNotApprove)
	}
	w.must(w.promote(member("bob")))
	w.step(1)
}

// TestARollbackForgetsNobody: back at the stable revision the Rollout is Healthy, but no revision has become stable.
func TestARollbackForgetsNobody(t *testing.T) {
	for what, back := range map[string]func(w *world){
		"by an edit":  func(w *world) { w.EditAs("erin", "v1", image("v1")) },
		"by an undo":  func(w *world) { w.must(w.UndoAs("erin", 0)) },
		"after abort": func(w *world) { w.must(w.Abort()); w.settle(); w.EditAs("erin", "v1", image("v1")) },
		"at no pods":  func(w *world) { w.EditAs("erin", "v1", image("v1")); w.edit("replicas 0", scale(0)) },
	} {
		t.Run(what, func(t *testing.T) {
			w := atApproval(t)
			w.must(w.promote(member("alice")))
			back(w)
			w.settle()
			w.is(rollouts.RolloutPhaseHealthy, "")
			w.edit("replicas 4", scale(4))
			w.EditAs("erin", "v2", image("v2"))
			w.settle()
			w.step(1)
			w.forbidden(w.promote(member("carol")), engine.ReasonAuthorMayNotApprove)
			w.must(w.promote(member("bob")))
			w.step(1)
			w.must(w.promote(member("alice")))
			w.step(2)
		})
	}
}

// TestTheSameTemplateIsApprovedAgain: what was approved as one revision is not as another.
func TestTheSameTemplateIsApprovedAgain(t *testing.T) {
	w := atApproval(t)
	for _, version := range []string{"v2", "v3", "v2"} {
		w.EditAs("carol", version, image(version))
		w.settle()
		w.step(1)
		w.must(w.promote(member("alice")))
		w.step(1)
		w.must(w.promote(member("bob")))
		w.settle()
		w.must(w.promote(member("bob")))
		w.settle()
		w.is(rollouts.RolloutPhaseHealthy, "")
	}
}

// TestFullEndsWithItsRevision: what one revision was promoted past is before the next.
func TestFullEndsWithItsRevision(t *testing.T) {
	for what, change := range map[string]func(w *world){
		"a new template":  func(w *world) { w.EditAs("carol", "v3", image("v3")) },
		"an undo":         func(w *world) { w.must(w.UndoAs("carol", 1)) },
		"abort and retry": func(w *world) { w.must(w.Abort()); w.settle(); w.must(w.Retry()) },
		"other steps": func(w *world) {
			w.EditAs("carol", "a step more", func(spec *rollouts.RolloutSpec) {
				spec.Strategy.Canary = spec.Strategy.Canary.DeepCopy()
				spec.Strategy.Canary.Steps = append(spec.Strategy.Canary.Steps, pause("1h"))
			})
		},
		"back and forth": func(w *world) { w.EditAs("carol", "v2", image("v2")); w.EditAs("carol", "v4", image("v4")) },
	} {
		t.Run(what, func(t *testing.T) {
			w := atApproval(t)
			w.must(w.PromoteAs(overrider("alice"), engine.PromoteOptions{Full: true}))
			w.settle()
			w.EditAs("carol", "v4", image("v4"))
			w.Reconcile()
			w.must(w.PromoteAs(overrider("alice"), engine.PromoteOptions{Full: true}))
			change(w)
			if w.Rollout.Status.PromoteFull {
				t.Error("it still is promoted in full")
			}
			w.settle()
			w.step(1)
		})
	}
}

// TestAnApprovalIsOfTheStepThatWasReached: a promote before it is none, and leaves the step to be approved.
func TestAnApprovalIsOfTheStepThatWasReached(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), approval(1), approval(1)))
	w.EditAs("carol", "v2", image("v2"))
	w.refused(w.promote(member("alice")), engine.ReasonNotObserved)
	w.Reconcile()
	w.step(0)
	w.must(w.promote(member("alice")))
	w.step(1)
	if got := w.Rollout.Status.Approvals; len(got) != 0 {
		t.Fatalf("approved before it was there: %+v", got)
	}
	w.must(w.promote(member("alice")))
	w.step(2)
	if got := w.Rollout.Status.Approvals; len(got) != 0 {
		t.Errorf("one approval counts for two steps: %+v", got)
	}
}

// TestMoreAuthorsThanAreNamed: the list is bounded, and whoever does not fit is not forgotten: nobody counts then.
func TestMoreAuthorsThanAreNamed(t *testing.T) {
	w := atApproval(t)
	for i := range 60 {
		w.EditAs(fmt.Sprintf("editor-%d", i), "image", image(fmt.Sprintf("v%d", 3+i)))
	}
	w.settle()
	w.step(1)
	authors := w.Rollout.Status.TemplateAuthors
	if len(authors) > 51 || authors[len(authors)-1] != "editor-59" {
		t.Errorf("%d authors: %v", len(authors), authors)
	}
	for _, who := range []string{"carol", "editor-0", "editor-59", "alice"} {
		w.forbidden(w.promote(member(who)), engine.ReasonAuthorUnknown)
	}
	w.must(w.PromoteAs(overrider("alice"), engine.PromoteOptions{Override: true}))
	w.step(2)
}

func TestAnEditByNobodyKnownIsRemembered(t *testing.T) {
	w := atApproval(t)
	w.EditAs("", "v3", image("v3"))
	w.settle()
	w.forbidden(w.promote(member("alice")), engine.ReasonAuthorUnknown)
	w.EditAs("dan", "v4", image("v4"))
	w.settle()
	w.forbidden(w.promote(member("alice")), engine.ReasonAuthorUnknown)
	if got := w.Rollout.Status.TemplateAuthors; !slices.Equal(got, []string{"*", "carol", "dan"}) {
		t.Errorf("authors %v", got)
	}
}

// TestWhoMayOverrideHasToSaySo: where approvals cannot be given, a plain promote of somebody with the right does not
// skip them, and names no right that would help, since it is there.
func TestWhoMayOverrideHasToSaySo(t *testing.T) {
	w := atApproval(t)
	w.EditAs("", "v3", image("v3"))
	w.settle()
	who := member("alice")
	who.Rights = []engine.Right{engine.RightOverride}
	err := w.promote(who)
	w.forbidden(err, engine.ReasonAuthorUnknown)
	var forbidden *engine.Forbidden
	if errors.As(err, &forbidden); forbidden.Missing != nil || !strings.Contains(forbidden.Message, "override set") {
		t.Errorf("%+v", forbidden)
	}
	w.step(1)
}

// expiring is a world in which alice has given one of two approvals, which count for an hour.
func expiring(t *testing.T) *world {
	list := []rollouts.CanaryStep{weight(25), approval(2, "release-managers"), weight(50)}
	list[1].Pause.Approval.ExpireAfter = ptr.To(intstr.FromString("1h"))
	w := deployed(t, rollout(4, list...))
	w.EditAs("carol", "v2", image("v2"))
	w.settle()
	w.must(w.promote(member("alice")))
	return w
}

// TestAnExpiredApprovalIsTakenOut, when it expires, and people are told. Then it counts no more, even if the clock is
// turned back.
func TestAnExpiredApprovalIsTakenOut(t *testing.T) {
	w := expiring(t)
	d := w.Reconcile()
	if d.RequeueAfter <= 0 || d.RequeueAfter > time.Hour+time.Microsecond {
		t.Fatalf("to be called again in %s", d.RequeueAfter)
	}
	w.Sleep(d.RequeueAfter)
	w.Reconcile()
	if got := w.Rollout.Status.Approvals; len(got) != 0 {
		t.Fatalf("still there: %+v", got)
	}
	if e := w.Events[len(w.Events)-1]; e.Reason != "RolloutApprovalExpired" || !strings.Contains(e.Message, "alice") {
		t.Errorf("%+v", e)
	}
	if d := w.Reconcile(); d.Status != nil || d.RequeueAfter != 0 {
		t.Errorf("decided more: %+v", d)
	}
	w.Sleep(-2 * time.Hour)
	w.must(w.promote(member("bob")))
	w.step(1)
}

// TestTheStatusNamesWhoIsStillNeeded, at any time.
func TestTheStatusNamesWhoIsStillNeeded(t *testing.T) {
	w := expiring(t)
	const rest = " more needed from members of release-managers, not from the authors of the template: carol"
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep: asks for approval: 1 of 2 given (by alice), 1"+rest)
	w.Reconcile()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep: asks for approval: 1 of 2 given (by alice), 1"+rest)
	w.settle() // Lets the hour pass.
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep: asks for approval: 0 of 2 given, 2"+rest)
	w.EditAs("", "v3", image("v3"))
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep: asks for approval: 0 of 2 given, 2 more needed from members of release-managers, "+
		"not from the authors of the template, who are not known: only an override ends this step")
}

// TestLongListsOfPeopleAreCut where people are to read them.
func TestLongListsOfPeopleAreCut(t *testing.T) {
	w := atApproval(t)
	for i := range 20 {
		w.EditAs(fmt.Sprintf("editor-%d", i), "image", image(fmt.Sprintf("v%d", 3+i)))
	}
	w.settle()
	if got := w.Rollout.Status.Message; !strings.HasSuffix(got, ": editor-15, editor-16, editor-17, editor-18, editor-19 and 16 more") {
		t.Errorf("%q", got)
	}
}
