// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// wild is somebody with a role that many clusters have: all resources, and the verbs that Kubernetes knows. It gives
// rollouts/status as well.
func (s *scenario) wild(name string) *scenario {
	s.Helper()
	_, err := s.Host.RbacV1().Roles(s.namespace).Create(s.ctx(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "wild"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"rollouts", "rollouts/status", "rollouts/scale"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}}},
	}, metav1.CreateOptions{})
	s.must(err)
	_, err = s.Host.RbacV1().RoleBindings(s.namespace).Create(s.ctx(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "wild"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}, metav1.CreateOptions{})
	s.must(err)
	other, err := s.As(name, approvers)
	s.must(err)
	s.eventually(name+" to be known", func(context.Context) bool { return s.granted(name, "rollouts/status", "patch") })
	return &scenario{s.T, other, s.namespace}
}

// What the server attests cannot be forged: by create, update, each kind of patch and server-side apply, of the Rollout,
// of its status and of its scale, in JSON or protobuf, by somebody who may make every one of these calls.
func TestNothingAttestedCanBeForged(t *testing.T) {
	s := together(t)
	mallory := s.wild("mallory")
	s.releaser("alice", approvers)
	r := s.gated("attested", s)
	s.must(s.promoteAs("alice", r.Name, `{"reason":"genuine"}`))
	r = s.get(r.Name)
	genuine := r.Status.DeepCopy()
	intact := func(how string) {
		t.Helper()
		st := s.get(r.Name).Status
		if !apiequality.Semantic.DeepEqual(st.Actions, genuine.Actions) || !apiequality.Semantic.DeepEqual(st.Approvals, genuine.Approvals) || !slices.Equal(st.TemplateAuthors, genuine.TemplateAuthors) {
			t.Errorf("%s: actions %+v, approvals %+v, authors %v", how, st.Actions, st.Approvals, st.TemplateAuthors)
		}
	}
	action := v1alpha1.RolloutAction{Verb: "promote", User: "forged", Outcome: v1alpha1.ActionDone, Time: metav1.NowMicro()}
	approved := v1alpha1.RolloutApproval{User: "forged", Revision: genuine.Revision, StepIndex: 1, StepHash: genuine.CurrentStepHash, Time: metav1.NowMicro()}
	forge := func(r *v1alpha1.Rollout) {
		r.Status.Actions = append(r.Status.Actions, action)
		r.Status.Approvals = append(r.Status.Approvals, approved)
		r.Status.TemplateAuthors = []string{"forged"}
	}
	forged := encode(map[string]any{"status": map[string]any{
		"actions": []v1alpha1.RolloutAction{action}, "approvals": []v1alpha1.RolloutApproval{approved}, "templateAuthors": []string{"forged"}}})
	inPlace := `[{"op":"add","path":"/status/approvals/-","value":` + encode(map[string]any{"user": "forged", "revision": genuine.Revision, "stepIndex": 1, "stepHash": genuine.CurrentStepHash, "time": "2026-01-01T00:00:00.000000Z"}) + `},
		{"op":"replace","path":"/status/actions/0/user","value":"forged"},{"op":"remove","path":"/status/templateAuthors"}]`
	applied := encode(map[string]any{"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "Rollout", "metadata": map[string]any{"name": r.Name},
		"status": map[string]any{"message": "forged", "templateAuthors": []string{"forged"}, "approvals": []v1alpha1.RolloutApproval{approved}, "actions": []v1alpha1.RolloutAction{action}}})
	apply := metav1.PatchOptions{FieldManager: "forger", Force: ptr.To(true)}

	for _, subresources := range [][]string{nil, {"status"}} {
		for kind, body := range map[types.PatchType]string{types.MergePatchType: forged, types.StrategicMergePatchType: forged, types.JSONPatchType: inPlace} {
			_, err := mallory.rollouts().Patch(s.ctx(), r.Name, kind, []byte(body), metav1.PatchOptions{}, subresources...)
			s.must(err)
			intact(fmt.Sprintf("%s of %v", kind, subresources))
		}
	}
	_, err := mallory.rollouts().Patch(s.ctx(), r.Name, types.ApplyPatchType, []byte(applied), apply, "status")
	s.must(err)
	intact("server-side apply of the status")
	_, err = mallory.rollouts().Patch(s.ctx(), r.Name, types.ApplyPatchType, []byte(mergedManifest(s, r.Name, forged)), apply)
	s.must(err)
	intact("server-side apply")
	for how, put := range map[string]func(context.Context, *v1alpha1.Rollout, metav1.UpdateOptions) (*v1alpha1.Rollout, error){
		"PUT": mallory.rollouts().Update, "PUT of the status": mallory.rollouts().UpdateStatus,
	} {
		s.eventually(how, func(ctx context.Context) bool { // The controller may write in between.
			now := s.get(r.Name)
			forge(now)
			_, err := put(ctx, now, metav1.UpdateOptions{})
			return err == nil
		})
		intact(how)
	}
	_, err = mallory.rollouts().UpdateScale(s.ctx(), r.Name, &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: r.Name, Namespace: s.namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: 3}}, metav1.UpdateOptions{})
	s.must(err)
	intact("scale")
	body := newRollout("made", 1)
	forge(body)
	created := mallory.create(body)
	if st := created.Status; len(st.Actions)+len(st.Approvals) > 0 || !slices.Equal(st.TemplateAuthors, []string{"mallory"}) {
		t.Errorf("created with the actions %+v, the approvals %+v and the authors %v", st.Actions, st.Approvals, st.TemplateAuthors)
	}
	applied = encode(mergePatch(s, manifest(newRollout("applied", 1)), forged))
	created, err = mallory.rollouts().Patch(s.ctx(), "applied", types.ApplyPatchType, []byte(applied), apply)
	s.must(err)
	if st := created.Status; len(st.Actions)+len(st.Approvals) > 0 || !slices.Equal(st.TemplateAuthors, []string{"mallory"}) {
		t.Errorf("applied with the actions %+v, the approvals %+v and the authors %v", st.Actions, st.Approvals, st.TemplateAuthors)
	}
	s.refused(mallory.call(http.MethodPost, r.Name, "promote", "{}").err, http.StatusForbidden, "rollouts/promote")
}

// Who may write the status, and is nobody whom the steps ask for, cannot say that an update is past them.
func TestAStatusWriterPassesNoGate(t *testing.T) {
	s := together(t)
	mallory := s.wild("mallory")
	r := s.gated("stood", s)
	for field, patch := range map[string]string{
		"status.currentStepIndex": `{"status":{"currentStepIndex":2}}`,
		"status.promoteFull":      `{"status":{"promoteFull":true}}`,
		"status.stableRS":         `{"status":{"stableRS":"` + r.Status.CurrentPodHash + `"}}`,
		"status.currentPodHash":   `{"status":{"currentPodHash":"` + r.Status.StableRS + `"}}`,
	} {
		_, err := mallory.patch(r.Name, patch, "status")
		status := s.refused(err, http.StatusForbidden, `user "mallory" cannot override resource "rollouts"`)
		if len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != "RightNeeded" || status.Details.Causes[0].Field != field {
			t.Errorf("%s: the causes are %+v", patch, status.Details.Causes)
		}
		apply := mergePatch(s, map[string]any{"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "Rollout", "metadata": map[string]any{"name": r.Name}}, patch)
		_, err = mallory.rollouts().Patch(s.ctx(), r.Name, types.ApplyPatchType, []byte(encode(apply)), metav1.PatchOptions{FieldManager: "forger", Force: ptr.To(true)}, "status")
		s.refused(err, http.StatusForbidden, field)
	}
	s.unchanged(r)
}
