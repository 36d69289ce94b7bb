// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Ways around approvals that lead through the storage: paths that are easily forgotten, and what others may write. What
// the engine decides has its tests there.

// TestWithoutAnAuthorizerThatAnswersNothingIsDone: what cannot be asked is not allowed.
func TestWithoutAnAuthorizerThatAnswersNothingIsDone(t *testing.T) {
	f := newFixture(t)
	before := f.waitingForApproval(t)
	f.rights.err = errors.New("the cluster cannot be asked")
	weaken := func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps[1].Pause.Approval = nil }
	for what, act := range map[string]func() error{
		"override": func() error { _, err := f.call(as("dave"), "promote", &rollouts.Promotion{Override: true}); return err },
		"an edit":  func() error { _, err := f.updateAs(as("dave"), weaken); return err },
		"a status": func() error {
			return f.writeStatus(as("dave"), func(r *rollouts.Rollout) { r.Status.PromoteFull = true })
		},
	} {
		if err := act(); !apierrors.IsInternalError(err) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	f.config().Authorizer = nil
	if _, err := f.updateAs(as("dave"), weaken); !apierrors.IsForbidden(err) {
		t.Errorf("without any authorizer: got %v", err)
	}
	if f.get(t).ResourceVersion != before.ResourceVersion {
		t.Error("something was stored")
	}
}

// TestEveryWayToWriteTheSpecIsAuthorized: server-side apply, a dry run, and a write that is evaluated again since
// somebody else was quicker. So is a switch to blueGreen, which asks for no approval. What is invalid is refused as that.
func TestEveryWayToWriteTheSpecIsAuthorized(t *testing.T) {
	toBlueGreen := func(promotedByItself bool) func(*rollouts.Rollout) {
		return func(r *rollouts.Rollout) {
			r.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: "web", AutoPromotionEnabled: &promotedByItself}}
		}
	}
	f := newFixture(t)
	before := f.waitingForApproval(t)
	for change, around := range map[string]func(*rollouts.Rollout){
		"steps without the approval": func(r *rollouts.Rollout) {
			r.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{{SetWeight: ptr.To[int32](20)}}
		},
		"blueGreen":                    toBlueGreen(true),
		"blueGreen that waits as well": toBlueGreen(false),
	} {
		for what, options := range map[string]*metav1.UpdateOptions{"a PUT": {}, "a dry run": {DryRun: []string{metav1.DryRunAll}}} {
			for _, apply := range []bool{false, true} {
				_, _, err := f.Rollout.Update(as("dave"), "web", changing(around), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, apply, options)
				if !apierrors.IsForbidden(err) || causes(t, err)[0] != "RightNeeded spec.strategy.canary.steps[1].pause.approval" {
					t.Errorf("%s by %s, applied %t: got %v", change, what, apply, err)
				}
			}
		}
	}
	for what, change := range map[string]func(*rollouts.Rollout){
		"a duration beside the approval": func(r *rollouts.Rollout) {
			r.Spec.Strategy.Canary.Steps[1].Pause.Duration = ptr.To(intstr.FromInt32(1))
		},
		"no strategy":            func(r *rollouts.Rollout) { r.Spec.Strategy.Canary = nil },
		"nobody required":        func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps[1].Pause.Approval.Required = ptr.To[int32](0) },
		"no step, and no weight": func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps[1] = rollouts.CanaryStep{} },
	} {
		if _, err := f.updateAs(as("dave"), change); !apierrors.IsInvalid(err) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if f.get(t).ResourceVersion != before.ResourceVersion {
		t.Error("something was stored")
	}
}

// TestAnEditIsAuthorizedForWhatItReplaces, not for what it was made of.
func TestAnEditIsAuthorizedForWhatItReplaces(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	steps := func(list ...rollouts.CanaryStep) func(*rollouts.Rollout) {
		return func(r *rollouts.Rollout) { r.ResourceVersion, r.Spec.Strategy.Canary.Steps = "", list }
	}
	gated := steps(rollouts.CanaryStep{Pause: &rollouts.RolloutPause{Approval: &rollouts.PauseApproval{}}})
	first := true
	_, err := f.updateAs(as("dave"), func(r *rollouts.Rollout) {
		if first {
			first = false
			if _, err := f.updateAs(as("alice"), gated); err != nil {
				t.Error(err)
			}
		}
		steps(rollouts.CanaryStep{SetWeight: ptr.To[int32](5)})(r)
	})
	if !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
	if s := f.get(t).Spec.Strategy.Canary.Steps; len(s) != 1 || s[0].Pause == nil {
		t.Errorf("stored %+v", s)
	}
}

func changing(change func(*rollouts.Rollout)) rest.UpdatedObjectInfo {
	return rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		rollout := old.DeepCopyObject().(*rollouts.Rollout)
		change(rollout)
		return rollout, nil
	})
}

func (f *fixture) writeStatus(ctx context.Context, change func(*rollouts.Rollout)) error {
	_, _, err := f.Status.Update(ctx, "web", changing(change), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return err
}

// TestAStatusWriterIsNobodyWhomTheStepsAskFor: somebody may have been given rollouts/status, as by a wildcard. To say by
// hand that an update is past an approval needs override, and past a pause the right to promote.
func TestAStatusWriterIsNobodyWhomTheStepsAskFor(t *testing.T) {
	claims := map[string]func(*rollouts.Rollout){
		"status.currentStepIndex": func(r *rollouts.Rollout) { r.Status.CurrentStepIndex = ptr.To[int32](2) },
		"status.promoteFull":      func(r *rollouts.Rollout) { r.Status.PromoteFull = true },
		"status.stableRS":         func(r *rollouts.Rollout) { r.Status.StableRS = r.Status.CurrentPodHash },
		"status.currentPodHash":   func(r *rollouts.Rollout) { r.Status.CurrentPodHash = r.Status.StableRS },
	}
	for field, claim := range claims {
		for right, prepare := range map[string]func(*fixture){
			"override rollouts":       func(f *fixture) { f.waitingForApproval(t) },
			"create rollouts/promote": func(f *fixture) { f.pausedAtStep1(t) },
		} {
			f := newFixture(t)
			prepare(f)
			before := f.get(t)
			for _, who := range []context.Context{as("dave"), as(user.APIServerUser), as("dave", user.SystemPrivilegedGroup), inNamespace()} {
				if err := f.writeStatus(who, claim); !apierrors.IsForbidden(err) || causes(t, err)[0] != "RightNeeded "+field {
					t.Errorf("%s: got %v", field, err)
				}
			}
			if f.get(t).ResourceVersion != before.ResourceVersion {
				t.Errorf("%s: something was stored", field)
			}
			if err := f.writeStatus(as("dave"), func(r *rollouts.Rollout) { r.Status.Message = "touched" }); err != nil {
				t.Errorf("a message: %v", err)
			}
			f.rights.allowed = []string{"dave " + right}
			if err := f.writeStatus(as("dave"), claim); err != nil {
				t.Errorf("%s, with the right to %s: %v", field, right, err)
			}
		}
	}
}

// TestAForgedBodyIsWorthNothing, by the ways that TestNobodyForgesWhatIsAttested does not go.
func TestAForgedBodyIsWorthNothing(t *testing.T) {
	forge := func(r *rollouts.Rollout) {
		r.Status = rollouts.RolloutStatus{Revision: 9, StableRS: "forged", PromoteFull: true, TemplateAuthors: []string{"forged"},
			Actions: []rollouts.RolloutAction{{Verb: "promote", User: "forged"}}, Approvals: []rollouts.RolloutApproval{{User: "forged"}}}
	}
	clean := func(how string, r *rollouts.Rollout) {
		t.Helper()
		st := r.Status
		if len(st.Actions)+len(st.Approvals) > 0 || st.PromoteFull || st.StableRS == "forged" || slices.Contains(st.TemplateAuthors, "forged") || st.Revision == 9 {
			t.Errorf("%s: %+v", how, st)
		}
	}
	f := newFixture(t)
	body := newRollout()
	forge(body)
	obj, created, err := f.Rollout.Update(as("alice"), "web", rest.DefaultUpdatedObjectInfo(body), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, true, &metav1.UpdateOptions{})
	if err != nil || !created {
		t.Fatalf("created %t: %v", created, err)
	}
	clean("server-side apply that creates", obj.(*rollouts.Rollout))
	if got := f.get(t).Status.TemplateAuthors; !slices.Equal(got, []string{"alice"}) {
		t.Errorf("the author of what was applied is %v", got)
	}
	for what, change := range map[string]func(*rollouts.Rollout){
		"a change of the template": func(r *rollouts.Rollout) { forge(r); r.Spec.Template.Spec.Containers[0].Image = "red" },
		"a change of nothing":      forge,
		"a change of labels":       func(r *rollouts.Rollout) { forge(r); r.Labels = map[string]string{"a": "b"} },
	} {
		changed, err := f.updateAs(as("bob"), change)
		if err != nil {
			t.Fatal(err)
		}
		clean(what, changed)
	}
	scaled, _, err := f.Scale.Update(as("bob"), "web", rest.DefaultUpdatedObjectInfo(scaleOf(f.get(t))), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil || scaled == nil {
		t.Fatal(err)
	}
	clean("scale", f.get(t))
}

// TestReturnWithinTheWindowIsAuthorized: a template that goes back to a recent revision skips the approvals, so that
// whoever writes it needs the right to; without approvals, or out of the window, nobody does.
func TestReturnWithinTheWindowIsAuthorized(t *testing.T) {
	f := newFixture(t)
	before := f.waitingForApproval(t)
	f.host.window = 2
	back := func(revisions int32) func(*rollouts.Rollout) {
		return func(r *rollouts.Rollout) {
			r.Spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: revisions}
			r.Spec.Template.Spec.Containers[0].Image = "recent"
		}
	}
	if _, err := f.updateAs(as("dave"), back(2)); !apierrors.IsForbidden(err) || causes(t, err)[0] != "RightNeeded spec.rollbackWindow" {
		t.Errorf("got %v", err)
	}
	if f.get(t).ResourceVersion != before.ResourceVersion {
		t.Error("something was stored")
	}
	f.rights.allowed = append(f.rights.allowed, "boss override rollouts")
	got, err := f.updateAs(as("boss"), back(2))
	if err != nil || int(*got.Status.CurrentStepIndex) != len(got.Spec.Strategy.Canary.Steps) {
		t.Errorf("with the right: %+v, %v", got, err)
	}

	f = newFixture(t)
	f.waitingForApproval(t)
	f.host.window = 2
	if got, err := f.updateAs(as("dave"), back(1)); err != nil || *got.Status.CurrentStepIndex != 0 {
		t.Errorf("out of the window: %+v, %v", got, err)
	}
}

// sameHashes gives every template the same hash, until that was given to another: as real hashes might be made to.
type sameHashes struct {
	asked  int
	during func()
}

func (h *sameHashes) Resolve(_ context.Context, rollout, stored *rollouts.Rollout) (*corev1.PodTemplateSpec, engine.Resolution, error) {
	h.asked++
	resolution := engine.Resolution{Hash: "h", Revision: stored.Status.Revision + 1}
	if stored.Status.CurrentPodHash == "h" {
		resolution.Hash = "another"
	}
	if during := h.during; during != nil {
		h.during = nil
		during()
	}
	return rollout.Spec.Template.DeepCopy(), resolution, nil
}

// TestTwoTemplatesOfOneHashAreTwoRevisions: neither editor hides behind the other.
func TestTwoTemplatesOfOneHashAreTwoRevisions(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	f.setStatus(t, func(r *rollouts.Rollout) { r.Status.StableRS, r.Status.TemplateAuthors = r.Status.CurrentPodHash, nil })
	image := func(name string) func(*rollouts.Rollout) {
		return func(r *rollouts.Rollout) { r.ResourceVersion, r.Spec.Template.Spec.Containers[0].Image = "", name }
	}
	host := &sameHashes{}
	host.during = func() {
		if _, err := f.updateAs(as("carol"), image("green")); err != nil {
			t.Error(err)
		}
	}
	f.config().Templates = host
	if _, err := f.updateAs(as("mallory"), image("red")); err != nil {
		t.Fatal(err)
	}
	r := f.get(t)
	if r.Spec.Template.Spec.Containers[0].Image != "red" || r.Status.CurrentPodHash != "another" || r.Status.Revision != 3 || !slices.Equal(r.Status.TemplateAuthors, []string{"carol", "mallory"}) {
		t.Errorf("%s is %s, revision %d, by %v", r.Spec.Template.Spec.Containers[0].Image, r.Status.CurrentPodHash, r.Status.Revision, r.Status.TemplateAuthors)
	}
}
