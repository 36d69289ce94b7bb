// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// waitingForApproval stores a Rollout whose update waits for two release managers; carol wrote it.
func (f *fixture) waitingForApproval(t *testing.T) *rollouts.Rollout {
	t.Helper()
	r := newRollout()
	r.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{{SetWeight: ptr.To[int32](20)}, {Pause: &rollouts.RolloutPause{Approval: &rollouts.PauseApproval{
		Required: ptr.To[int32](2), Groups: []string{"release-managers"}, NotAuthor: ptr.To(true), ExpireAfter: ptr.To(intstr.FromString("1h"))}}}, {SetWeight: ptr.To[int32](50)}}
	f.create(t, r)
	f.setStatus(t, func(r *rollouts.Rollout) {
		r.Status.ObservedGeneration, r.Status.StableRS, r.Status.TemplateAuthors = 1, r.Status.CurrentPodHash, nil
	})
	if _, err := f.updateAs(as("carol"), func(r *rollouts.Rollout) { r.Spec.Template.Spec.Containers[0].Image = "red" }); err != nil {
		t.Fatal(err)
	}
	return f.setStatus(t, func(r *rollouts.Rollout) {
		r.Status.ObservedGeneration, r.Status.CurrentStepIndex, r.Status.Phase = r.Generation, ptr.To[int32](1), rollouts.RolloutPhasePaused
		r.Status.PauseConditions = []rollouts.PauseCondition{{Reason: rollouts.PauseReasonCanaryPauseStep, StartTime: metav1.NewMicroTime(f.clock.Now())}}
	})
}

func TestApprovals(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	promote := func(name string, groups ...string) (rollouts.VerbBody, error) {
		return f.call(as(name, groups...), "promote", &rollouts.Promotion{})
	}
	for who, want := range map[string]string{"eve": "NotInGroups", "carol": "AuthorMayNotApprove"} {
		groups := []string{"release-managers"}
		if who == "eve" {
			groups = nil
		}
		if _, err := promote(who, groups...); !apierrors.IsForbidden(err) || causes(t, err)[0] != want {
			t.Errorf("%s: got %v, want %s", who, err, want)
		}
	}
	answer, err := promote("alice", "release-managers")
	if err != nil || answer.VerbStatus().Action.Outcome != rollouts.ActionApproved || *answer.VerbStatus().CurrentStepIndex != 1 {
		t.Fatalf("%v %+v", err, answer)
	}
	if _, err := promote("alice", "release-managers"); !apierrors.IsConflict(err) || causes(t, err)[0] != "AlreadyApproved" {
		t.Errorf("twice: got %v", err)
	}
	if answer, err = promote("bob", "release-managers"); err != nil || *answer.VerbStatus().CurrentStepIndex != 2 {
		t.Fatalf("%v %+v", err, answer)
	}
	if len(f.rights.asked) != 0 {
		t.Errorf("the authorizer was asked for %v, which nobody needed", f.rights.asked)
	}
}

func TestOverrideIsAskedOfTheAuthorizer(t *testing.T) {
	for _, body := range []*rollouts.Promotion{{Override: true}, {Full: true}} {
		f := newFixture(t)
		f.waitingForApproval(t)
		_, err := f.call(as("dave"), "promote", body)
		if !apierrors.IsForbidden(err) || causes(t, err)[0] != "OverrideNeeded" || !strings.Contains(err.Error(), `cannot override resource "rollouts"`) {
			t.Errorf("got %v", err)
		}
		f.rights.allowed = []string{"dave override rollouts"}
		answer := f.mustCall(t, as("dave"), "promote", body)
		if answer.VerbStatus().Action.Outcome != rollouts.ActionOverridden {
			t.Errorf("%+v", answer.VerbStatus().Action)
		}
	}
}

func TestEditsThatTakeAnApprovalAwayNeedOverride(t *testing.T) {
	gate := func(r *rollouts.Rollout) *rollouts.PauseApproval {
		return r.Spec.Strategy.Canary.Steps[1].Pause.Approval
	}
	for name, change := range map[string]func(*rollouts.Rollout){
		"removed":         func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps[1].Pause.Approval = nil },
		"steps emptied":   func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps = nil },
		"fewer required":  func(r *rollouts.Rollout) { gate(r).Required = ptr.To[int32](1) },
		"everybody":       func(r *rollouts.Rollout) { gate(r).Groups = nil },
		"for ever":        func(r *rollouts.Rollout) { gate(r).ExpireAfter = nil },
		"authors too":     func(r *rollouts.Rollout) { gate(r).NotAuthor = ptr.To(false) },
		"after more pods": func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps[0].SetWeight = ptr.To[int32](100) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			before := f.waitingForApproval(t)
			_, err := f.updateAs(as("dave"), change)
			if !apierrors.IsForbidden(err) || !strings.HasPrefix(causes(t, err)[0], "RightNeeded spec.strategy.canary") {
				t.Fatalf("got %v", err)
			}
			if f.get(t).ResourceVersion != before.ResourceVersion {
				t.Error("it was stored all the same")
			}
			f.rights.allowed = []string{"dave override rollouts", "dave create rollouts/promote"}
			if _, err := f.updateAs(as("dave"), change); err != nil {
				t.Errorf("with the right: %v", err)
			}
		})
	}
}

// manager is a release manager.
func manager(name string) context.Context { return as(name, "release-managers") }

// approvers are whose approvals are stored.
func (f *fixture) approvers(t *testing.T) []string {
	t.Helper()
	var users []string
	for _, given := range f.get(t).Status.Approvals {
		users = append(users, given.User)
	}
	return users
}

// TestAnApprovalThatExpiresDuringAdmissionDoesNotCount: what was shown to policies ended the step, what would be
// stored does not.
func TestAnApprovalThatExpiresDuringAdmissionDoesNotCount(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	f.mustCall(t, manager("alice"), "promote", &rollouts.Promotion{})
	f.clock.SetTime(f.clock.Now().Add(time.Hour - time.Second))
	again := false
	f.plugins.onValidate = func() {
		if !again {
			again = true
			f.clock.SetTime(f.clock.Now().Add(time.Minute))
		}
	}
	if _, err := f.call(manager("bob"), "promote", &rollouts.Promotion{}); !apierrors.IsConflict(err) {
		t.Fatalf("got %v", err)
	}
	if r := f.get(t); *r.Status.CurrentStepIndex != 1 || len(r.Status.Actions) != 1 {
		t.Fatalf("at step %d with %d actions", *r.Status.CurrentStepIndex, len(r.Status.Actions))
	}
	if answer := f.mustCall(t, manager("bob"), "promote", &rollouts.Promotion{}); answer.VerbStatus().Action.Outcome != rollouts.ActionApproved {
		t.Errorf("%+v", answer.VerbStatus().Action)
	}
	if got := f.approvers(t); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("approved by %v", got)
	}
}

// TestTwoApprovalsAtOnceAreNoStepThatNobodyAdmitted: policies were shown an approval, and a step would be taken.
func TestTwoApprovalsAtOnceAreNoStepThatNobodyAdmitted(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	f.plugins.onValidate = func() {
		f.plugins.onValidate = nil
		f.mustCall(t, manager("alice"), "promote", &rollouts.Promotion{})
	}
	_, err := f.call(manager("bob"), "promote", &rollouts.Promotion{})
	if !apierrors.IsConflict(err) || causes(t, err)[0] != "PreconditionFailed" {
		t.Fatalf("got %v", err)
	}
	if got := f.approvers(t); !slices.Equal(got, []string{"alice"}) {
		t.Fatalf("approved by %v", got)
	}
	if answer := f.mustCall(t, manager("bob"), "promote", &rollouts.Promotion{}); *answer.VerbStatus().CurrentStepIndex != 2 {
		t.Errorf("%+v", answer.VerbStatus())
	}
}

// TestOfManyApproversAtOnceTheRightNumberCounts, each once.
func TestOfManyApproversAtOnceTheRightNumberCounts(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	f.config().Admission, f.config().Performed = nil, nil // Which are not made to be called at once.
	var mu sync.Mutex
	outcomes := map[rollouts.ActionOutcome][]string{}
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "a", "b", "c", "d", "e"} {
		all.Go(func() {
			// The step is named, since the one after it is a weight, which anybody may promote.
			body := &rollouts.Promotion{VerbRequest: rollouts.VerbRequest{Expect: rollouts.VerbExpectation{StepIndex: ptr.To[int32](1)}}}
			answer, err := f.call(manager(name), "promote", body)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				action := answer.VerbStatus().Action
				outcomes[action.Outcome] = append(outcomes[action.Outcome], action.User)
			} else if !apierrors.IsConflict(err) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	approved, done := outcomes[rollouts.ActionApproved], outcomes[rollouts.ActionDone]
	if len(approved) > 1 || len(done) > 1 || len(approved)+len(done) == 0 || len(done) == 1 && (len(approved) != 1 || approved[0] == done[0]) {
		t.Errorf("approved by %v, ended by %v", approved, done)
	}
}

// TestTheAuthorizerIsNotAskedForEver, where the right that it grants does not help.
func TestTheAuthorizerIsNotAskedForEver(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	f.setStatus(t, func(r *rollouts.Rollout) { r.Status.TemplateAuthors = nil })
	f.rights.allowed = []string{"alice override rollouts"}
	for who, asked := range map[string]int{"alice": 1, "bob": 1} {
		f.rights.asked = nil
		_, err := f.call(manager(who), "promote", &rollouts.Promotion{})
		if !apierrors.IsForbidden(err) || causes(t, err)[0] != "AuthorUnknown" || len(f.rights.asked) != asked {
			t.Errorf("%s: got %v after asking for %v", who, err, f.rights.asked)
		}
	}
	f.mustCall(t, manager("alice"), "promote", &rollouts.Promotion{Override: true})
}

// TestARequestIDIsNotPerformedAtALaterStep: a call that was lost and is repeated does not approve what came after.
func TestARequestIDIsNotPerformedAtALaterStep(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	request := &rollouts.Promotion{VerbRequest: rollouts.VerbRequest{RequestID: "r1"}}
	first := f.mustCall(t, manager("alice"), "promote", request)
	again := f.mustCall(t, manager("alice"), "promote", request)
	if again.VerbStatus().Action.Outcome != rollouts.ActionApproved || len(f.approvers(t)) != 1 || len(f.performed) != 1 {
		t.Fatalf("%+v, approved by %v", again.VerbStatus(), f.approvers(t))
	}
	f.mustCall(t, manager("bob"), "promote", &rollouts.Promotion{})
	late := f.mustCall(t, manager("alice"), "promote", request)
	if *f.get(t).Status.CurrentStepIndex != 2 || *late.VerbStatus().CurrentStepIndex != *first.VerbStatus().CurrentStepIndex {
		t.Errorf("a repeated approval of step 1 moved the update to step %d", *f.get(t).Status.CurrentStepIndex)
	}
	if _, err := f.call(manager("bob"), "promote", request); !apierrors.IsConflict(err) {
		t.Errorf("the requestID of somebody else: got %v", err)
	}
}

// TestADryRunApprovesNothing.
func TestADryRunApprovesNothing(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	answer, err := f.call(manager("alice"), "promote", &rollouts.Promotion{}, metav1.DryRunAll)
	if err != nil || answer.VerbStatus().Action.Outcome != rollouts.ActionApproved || !strings.Contains(answer.VerbStatus().Message, "1 of 2 given (by alice)") {
		t.Fatalf("%v %+v", err, answer)
	}
	if got := f.approvers(t); got != nil {
		t.Errorf("approved by %v", got)
	}
}

// TestAnUndoIsAnEditByWhoeverAsksForIt: they are an author, and what was approved is void.
func TestAnUndoIsAnEditByWhoeverAsksForIt(t *testing.T) {
	f := newFixture(t)
	f.waitingForApproval(t)
	f.mustCall(t, manager("alice"), "promote", &rollouts.Promotion{})
	f.mustCall(t, manager("alice"), "undo", &rollouts.Undo{ToRevision: 1})
	if st := f.get(t).Status; len(st.Approvals) > 0 || !slices.Equal(st.TemplateAuthors, []string{"carol", "alice"}) {
		t.Errorf("approvals %+v, authors %v", st.Approvals, st.TemplateAuthors)
	}
}

// TestANewRolloutOfTheSameNameRemembersNothing, and whoever reviewed the old one is told.
func TestANewRolloutOfTheSameNameRemembersNothing(t *testing.T) {
	f := newFixture(t)
	old := f.waitingForApproval(t)
	f.mustCall(t, manager("alice"), "promote", &rollouts.Promotion{})
	if _, _, err := f.Rollout.Delete(as("dave"), "web", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.waitingForApproval(t)
	if st := f.get(t).Status; len(st.Approvals)+len(st.Actions) > 0 {
		t.Errorf("%+v", st)
	}
	_, err := f.call(manager("alice"), "promote", &rollouts.Promotion{VerbRequest: rollouts.VerbRequest{Expect: rollouts.VerbExpectation{UID: old.UID}}})
	if !apierrors.IsConflict(err) || causes(t, err)[0] != "PreconditionFailed expect.uid" {
		t.Errorf("got %v", err)
	}
}

// TestWhatWasPushedAfterTheReviewIsNotApproved: by what the caller expects, or, without that, by when the call began.
func TestWhatWasPushedAfterTheReviewIsNotApproved(t *testing.T) {
	push := func(f *fixture) {
		if _, err := f.updateAs(as("carol"), func(r *rollouts.Rollout) { r.Spec.Template.Spec.Containers[0].Image = "green" }); err != nil {
			t.Error(err)
		}
		f.setStatus(t, func(r *rollouts.Rollout) {
			r.Status.ObservedGeneration, r.Status.CurrentStepIndex = r.Generation, ptr.To[int32](1)
		})
	}
	f := newFixture(t)
	reviewed := f.waitingForApproval(t)
	push(f)
	body := &rollouts.Promotion{VerbRequest: rollouts.VerbRequest{Expect: rollouts.VerbExpectation{Revision: &reviewed.Status.Revision}}}
	if _, err := f.call(manager("alice"), "promote", body); !apierrors.IsConflict(err) || causes(t, err)[0] != "PreconditionFailed expect.revision" {
		t.Errorf("got %v", err)
	}
	f = newFixture(t)
	f.waitingForApproval(t)
	f.plugins.onValidate = func() { push(f) }
	if _, err := f.call(manager("alice"), "promote", &rollouts.Promotion{}); !apierrors.IsConflict(err) || causes(t, err)[0] != "PreconditionFailed" {
		t.Errorf("got %v", err)
	}
	if got := f.approvers(t); got != nil {
		t.Errorf("approved by %v", got)
	}
}
