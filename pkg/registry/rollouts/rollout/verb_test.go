// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// pausedAtStep1 stores a Rollout whose update waits in its second step, as the controller would leave it.
func (f *fixture) pausedAtStep1(t *testing.T) *rollouts.Rollout {
	t.Helper()
	f.create(t, newRollout())
	if _, err := f.update(t, func(r *rollouts.Rollout) { r.Spec.Template.Spec.Containers[0].Image = "red" }); err != nil {
		t.Fatal(err)
	}
	return f.setStatus(t, func(r *rollouts.Rollout) {
		r.Status.ObservedGeneration = r.Generation
		r.Status.StableRS = "hash-of-blue"
		r.Status.Phase = rollouts.RolloutPhasePaused
		r.Status.CurrentStepIndex = ptr.To[int32](1)
		r.Status.ControllerPause = true
		r.Status.PauseConditions = []rollouts.PauseCondition{{Reason: rollouts.PauseReasonCanaryPauseStep, StartTime: metav1.NewMicroTime(f.clock.Now())}}
	})
}

// setStatus is a write of the controller.
func (f *fixture) setStatus(t *testing.T, change func(*rollouts.Rollout)) *rollouts.Rollout {
	t.Helper()
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		rollout := old.DeepCopyObject().(*rollouts.Rollout)
		change(rollout)
		return rollout, nil
	})
	obj, _, err := f.Status.Update(serverItself(), "web", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*rollouts.Rollout)
}

func (f *fixture) get(t *testing.T) *rollouts.Rollout {
	t.Helper()
	obj, err := f.Rollout.Get(inNamespace(), "web", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*rollouts.Rollout)
}

func (f *fixture) promote(body *rollouts.Promotion, dryRun ...string) (*rollouts.Promotion, error) {
	verb := f.Verbs["promote"].(*VerbREST)
	obj, err := verb.Create(inNamespace(), "web", body, rest.ValidateAllObjectFunc, &metav1.CreateOptions{DryRun: dryRun})
	if err != nil {
		return nil, err
	}
	return obj.(*rollouts.Promotion), nil
}

func TestTheReplyOfAPromoteShowsTheNextStep(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	answer, err := f.promote(&rollouts.Promotion{})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Name != "web" || ptr.Deref(answer.Status.CurrentStepIndex, -1) != 2 {
		t.Errorf("answered step %v of %q, want 2 of web", answer.Status.CurrentStepIndex, answer.Name)
	}
	if got := ptr.Deref(f.get(t).Status.CurrentStepIndex, -1); got != 2 {
		t.Errorf("stored step %d, want 2", got)
	}
}

func TestADryRunOfAVerbAnswersInFullAndStoresNothing(t *testing.T) {
	f := newFixture(t)
	before := f.pausedAtStep1(t)
	answer, err := f.promote(&rollouts.Promotion{}, metav1.DryRunAll)
	if err != nil {
		t.Fatal(err)
	}
	if ptr.Deref(answer.Status.CurrentStepIndex, -1) != 2 {
		t.Errorf("answered step %v, want 2", answer.Status.CurrentStepIndex)
	}
	if got := f.get(t).ResourceVersion; got != before.ResourceVersion {
		t.Error("a dry run was stored")
	}
}

func TestOfManyPromotesThatExpectTheSameStateOneSucceeds(t *testing.T) {
	f := newFixture(t)
	expected := f.pausedAtStep1(t).ResourceVersion
	var succeeded, conflicts int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			_, err := f.promote(&rollouts.Promotion{ObjectMeta: metav1.ObjectMeta{ResourceVersion: expected}})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				succeeded++
			case apierrors.IsConflict(err):
				conflicts++
			default:
				t.Errorf("got %v, want success or Conflict", err)
			}
		})
	}
	all.Wait()
	if succeeded != 1 || conflicts != 99 {
		t.Errorf("%d succeeded and %d were told of a conflict, want 1 and 99", succeeded, conflicts)
	}
}

func TestAnImpossibleVerbIs409WithACause(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	_, err := f.promote(&rollouts.Promotion{})
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Code != 409 || len(status.ErrStatus.Details.Causes) != 1 {
		t.Fatalf("got %v, want 409 with one cause", err)
	}
	if cause := status.ErrStatus.Details.Causes[0]; cause.Type == "" || cause.Message == "" {
		t.Errorf("the cause %+v does not say what is wrong", cause)
	}
	if status.ErrStatus.Details.RetryAfterSeconds != 1 {
		t.Errorf("retryAfterSeconds is %d, want 1 while the spec is not observed", status.ErrStatus.Details.RetryAfterSeconds)
	}
}

func TestAVerbAnswersOnlyForTheRolloutThatIsMeant(t *testing.T) {
	tests := []struct {
		name  string
		meta  metav1.ObjectMeta
		is    func(error) bool
		field string
	}{
		{"another name than in the URL", metav1.ObjectMeta{Name: "other"}, apierrors.IsBadRequest, ""},
		{"another uid", metav1.ObjectMeta{UID: "other"}, apierrors.IsConflict, "metadata.uid"},
		{"another resourceVersion", metav1.ObjectMeta{ResourceVersion: "1"}, apierrors.IsConflict, "metadata.resourceVersion"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.pausedAtStep1(t)
			_, err := f.promote(&rollouts.Promotion{ObjectMeta: test.meta})
			if !test.is(err) {
				t.Fatalf("got %v", err)
			}
			var status *apierrors.StatusError
			if test.field != "" && (!errors.As(err, &status) || status.ErrStatus.Details.Causes[0].Field != test.field) {
				t.Errorf("got %v, want a cause for %s", err, test.field)
			}
		})
	}
}

func TestAVerbCannotBeApplied(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	_, _, err := f.Verbs["promote"].(*VerbREST).Update(inNamespace(), "web", rest.DefaultUpdatedObjectInfo(&rollouts.Promotion{}), nil, nil, true, &metav1.UpdateOptions{})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("got %v, want BadRequest for server-side apply", err)
	}
}

func TestAnAbortIsNotHeldUpByAChangeAtTheSameTime(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	abort := f.Verbs["abort"].(*VerbREST)
	moved := func(context.Context, runtime.Object) error {
		f.setStatus(t, func(r *rollouts.Rollout) { r.Status.CurrentStepIndex = ptr.To[int32](2) })
		return nil
	}
	if _, err := abort.Create(inNamespace(), "web", &rollouts.Abort{}, moved, &metav1.CreateOptions{}); err != nil {
		t.Errorf("the abort was refused: %v", err)
	}
	if !f.get(t).Status.Abort {
		t.Error("the abort was not stored")
	}
}

func TestAPromoteThatRacesAnotherIsAConflict(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	promote := f.Verbs["promote"].(*VerbREST)
	moved := func(context.Context, runtime.Object) error {
		f.setStatus(t, func(r *rollouts.Rollout) { r.Status.CurrentStepIndex = ptr.To[int32](2) })
		return nil
	}
	if _, err := promote.Create(inNamespace(), "web", &rollouts.Promotion{}, moved, &metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want Conflict: the step that the caller meant is gone", err)
	}
}
