// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// asked is the field of the approval that gated Rollouts ask for.
const asked = "spec.strategy.canary.steps[1].pause.approval"

// gated is a Rollout whose update, by somebody, waits for two release managers.
func (s *scenario) gated(name string, author *scenario, change ...func(*v1alpha1.PauseApproval)) *v1alpha1.Rollout {
	s.Helper()
	step := approval(2, approvers)
	for _, c := range change {
		c(step.Pause.Approval)
	}
	s.deploy(newRollout(name, 2, threeSteps(step)...))
	author.change(name, toVersionTwo)
	return s.await(name, waitingAt(1))
}

// kubectlAs runs kubectl in the name of somebody.
func (s *scenario) kubectlAs(who string, groups []string, stdin string, args ...string) (string, error) {
	s.Helper()
	args = append(args, "--as="+who)
	for _, group := range groups {
		args = append(args, "--as-group="+group)
	}
	output := s.run(stdin, args...)
	return output.Stdout, output.Err()
}

// promoteAs promotes with stock kubectl.
func (s *scenario) promoteAs(who, name, body string) error {
	s.Helper()
	_, err := s.kubectlAs(who, []string{approvers}, "", "patch", resource, name, "--subresource=promote", "--type=merge", "-p", body)
	return err
}

// everyPromoteRefused promotes in every way, and fails the test unless each is refused with this cause and these words.
func (s *scenario) everyPromoteRefused(who *scenario, name, body string, code int32, cause string, words ...string) {
	s.Helper()
	for _, method := range writingMethods {
		status := s.refused(who.call(method, name, "promote", body).err, code, words...)
		if len(status.Details.Causes) != 1 || string(status.Details.Causes[0].Type) != cause {
			s.Errorf("%s of %s: the causes are %+v instead of %s", method, body, status.Details.Causes, cause)
		}
	}
}

// told waits for an Event about a Rollout.
func (s *scenario) told(name, kind, reason string, words ...string) {
	s.Helper()
	s.eventually(fmt.Sprintf("a %s Event %s with %q", kind, reason, words), func(ctx context.Context) bool {
		events, err := s.Host.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			s.Error(err)
			return false
		}
		return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == name && e.Type == kind && e.Reason == reason &&
				!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.Message, word) })
		})
	})
}

// Two release managers approve, one with stock kubectl and one with the plugin. Whoever does not count is refused, in
// every way to promote, and everything says who is still needed.
func TestTwoReleaseManagersApprove(t *testing.T) {
	s := together(t)
	log := s.auditLog()
	s.releaser("alice", approvers)
	s.releaser("bob", approvers)
	carol, eve := s.releaser("carol", approvers), s.releaser("eve")
	r := s.gated("reviewed", carol)
	const from = "more needed from members of release-managers, not from the authors of the template: carol"
	s.contains(r.Status.Message, "0 of 2 given, 2 "+from)
	s.everyPromoteRefused(eve, r.Name, "{}", http.StatusForbidden, "NotInGroups", approvers, "eve")
	s.everyPromoteRefused(carol, r.Name, "{}", http.StatusForbidden, "AuthorMayNotApprove", "carol")
	_, err := s.kubectlAs("carol", []string{approvers}, "", "sluice", "promote", r.Name)
	s.says(err, "carol", "AuthorMayNotApprove")
	s.unchanged(r)

	s.must(s.promoteAs("alice", r.Name, `{"reason":"looks good"}`))
	r = s.get(r.Name)
	given, action := r.Status.Approvals, r.Status.Actions[len(r.Status.Actions)-1]
	if len(given) != 1 || given[0].User != "alice" || given[0].Revision != r.Status.Revision || given[0].StepIndex != 1 || given[0].StepHash != r.Status.CurrentStepHash {
		t.Errorf("the approvals are %+v", given)
	}
	if action.User != "alice" || action.Outcome != v1alpha1.ActionApproved || *action.ToStep != 1 || action.Reason != "looks good" || action.GroupsDigest == "" {
		t.Errorf("the action is %+v", action)
	}
	log.await(s, "the approval", func(e *auditv1.Event) bool {
		return string(e.AuditID) == action.AuditID && e.User.Username == "alice" && e.Verb == "patch" && e.ObjectRef.Subresource == "promote"
	})
	s.told(r.Name, corev1.EventTypeNormal, "RolloutApproved", "alice", "1 of 2 given", "looks good")
	s.contains(r.Status.Message, "1 of 2 given (by alice), 1 "+from)
	s.blocked(r.Name, v1alpha1.BlockerApprovalMissing, "1 of 2 given (by alice), 1 "+from)
	s.says(s.promoteAs("alice", r.Name, "{}"), "has approved step 1/3 already")
	alice, err := s.As("alice", approvers)
	s.must(err)
	s.everyPromoteRefused(&scenario{t, alice, s.namespace}, r.Name, "{}", http.StatusConflict, "AlreadyApproved", "alice")
	s.unchanged(r)

	printed, err := s.kubectlAs("bob", []string{approvers}, "", "sluice", "promote", r.Name, "--reason=me too")
	s.must(err)
	s.contains(printed, "approved by 2 of 2")
	r = s.get(r.Name)
	if *r.Status.CurrentStepIndex < 2 || len(r.Status.Approvals) > 0 {
		t.Errorf("at step %d with the approvals %+v", *r.Status.CurrentStepIndex, r.Status.Approvals)
	}
	s.told(r.Name, corev1.EventTypeNormal, "RolloutPromoted", "bob", "me too")
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	if len(r.Status.TemplateAuthors) > 0 {
		t.Errorf("a stable revision has the authors %v", r.Status.TemplateAuthors)
	}
}

// says fails the test unless a command failed and said this.
func (s *scenario) says(err error, words ...string) {
	s.Helper()
	if err == nil {
		s.Errorf("succeeded, where %q was to be said", words)
		return
	}
	s.contains(err.Error(), words...)
}

// An approval that has expired is taken out, and told of; then it does not count.
func TestApprovalsExpireInTime(t *testing.T) {
	s := together(t)
	s.releaser("alice", approvers)
	s.releaser("bob", approvers)
	r := s.gated("expiring", s, func(a *v1alpha1.PauseApproval) { a.ExpireAfter = ptr.To(intstr.FromString("2s")) })
	s.must(s.promoteAs("alice", r.Name, "{}"))
	r = s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(len(r.Status.Approvals) == 0 && strings.Contains(r.Status.Message, "0 of 2 given, 2 more needed"), "no approval; "+r.Status.Message)
	})
	s.told(r.Name, corev1.EventTypeWarning, "RolloutApprovalExpired", "alice")
	s.must(s.promoteAs("bob", r.Name, "{}"))
	r = s.get(r.Name)
	if newest := r.Status.Actions[len(r.Status.Actions)-1]; *r.Status.CurrentStepIndex != 1 || newest.User != "bob" || newest.Outcome != v1alpha1.ActionApproved {
		t.Errorf("at step %d after %+v", *r.Status.CurrentStepIndex, newest)
	}
}

// Whatever changes what would be promoted takes approvals back.
func TestApprovalsAreVoidAfterAChange(t *testing.T) {
	s := together(t)
	s.releaser("alice", approvers)
	s.releaser("bob", approvers)
	carol := s.releaser("carol")
	for name, change := range map[string]func(of *scenario, name string){
		"template": func(of *scenario, name string) { of.as(carol).setTag(name, "three") },
		"steps": func(of *scenario, name string) {
			of.as(carol).change(name, func(r *v1alpha1.Rollout) {
				r.Spec.Strategy.Canary.Steps = append(r.Spec.Strategy.Canary.Steps, pauseFor(3600))
			})
		},
		"retry": func(of *scenario, name string) {
			of.must(of.call(http.MethodPost, name, "abort", "{}").err)
			of.awaitPods(of.get(name), map[string]int{"one": 2})
			of.observed(name)
			of.must(of.call(http.MethodPost, name, "retry", "{}").err)
		},
		"undo": func(of *scenario, name string) {
			of.must(of.as(carol).call(http.MethodPost, name, "undo", "{}").err)
			of.awaitPhase(name, v1alpha1.RolloutPhaseHealthy)
			of.as(carol).change(name, toVersionTwo)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := &scenario{t, s.Cluster, s.namespace}
			name = "void-" + name
			of.gated(name, of.as(carol))
			of.must(of.promoteAs("alice", name, "{}"))
			change(of, name)
			if given := of.get(name).Status.Approvals; len(given) > 0 {
				t.Errorf("still approved: %+v", given)
			}
			of.await(name, waitingAt(1))
			of.must(of.promoteAs("bob", name, "{}"))
			if r := of.get(name); *r.Status.CurrentStepIndex != 1 || len(r.Status.Approvals) != 1 || r.Status.Approvals[0].User != "bob" {
				t.Errorf("at step %d, approved by %+v", *r.Status.CurrentStepIndex, r.Status.Approvals)
			}
		})
	}
}

// Who has the right to override ends the step, or all of them, alone; nobody else does, and that it was done is told.
func TestOverrideOfApprovals(t *testing.T) {
	s := together(t)
	alice, carol := s.releaser("alice", approvers), s.releaser("carol", approvers)
	s.alsoHas("carol", "sluice-override")
	for body, healthy := range map[string]bool{`{"override":true,"reason":"INC-1"}`: false, `{"full":true,"reason":"INC-1"}`: true} {
		name := fmt.Sprintf("overridden-%t", healthy)
		r := s.gated(name, carol)
		s.everyPromoteRefused(alice, name, body, http.StatusForbidden, "OverrideNeeded", `user "alice" cannot override resource "rollouts" in API group "sluice.dev"`)
		s.unchanged(r)
		got := carol.call(http.MethodPatch, name, "promote", body)
		s.must(got.err)
		if a := got.verb.Status.Action; a == nil || a.Outcome != v1alpha1.ActionOverridden || a.User != "carol" {
			t.Errorf("%s: the action is %+v", body, a)
		}
		s.told(name, corev1.EventTypeWarning, "RolloutPromoted", "carol", "INC-1")
		s.awaitPhase(name, v1alpha1.RolloutPhaseHealthy)
	}
}

// stepsPatch is a change of the steps.
func stepsPatch(steps ...v1alpha1.CanaryStep) string {
	return encode(map[string]any{"spec": map[string]any{"strategy": map[string]any{"canary": map[string]any{"steps": append([]v1alpha1.CanaryStep{}, steps...)}}}})
}

// waysToEdit are all ways to change a Rollout, as somebody.
func (s *scenario) waysToEdit(who *scenario, user, name, patch string) map[string]func() error {
	object := mergedManifest(s, name, patch)
	kubectl := func(args ...string) func() error {
		return func() error { _, err := s.kubectlAs(user, nil, object, args...); return err }
	}
	send := func(kind types.PatchType, body string) func() error {
		return func() error {
			options := metav1.PatchOptions{}
			if kind == types.ApplyPatchType {
				options = metav1.PatchOptions{FieldManager: "e2e", Force: ptr.To(true)}
			}
			_, err := who.rollouts().Patch(s.ctx(), name, kind, []byte(body), options)
			return err
		}
	}
	return map[string]func() error{
		"PUT": func() error {
			var r v1alpha1.Rollout
			s.must(json.Unmarshal([]byte(object), &r))
			r.ResourceVersion = s.get(name).ResourceVersion
			_, err := who.rollouts().Update(s.ctx(), &r, metav1.UpdateOptions{})
			return err
		},
		"merge patch":                 send(types.MergePatchType, patch),
		"JSON patch":                  send(types.JSONPatchType, replaced(s, patch)),
		"server-side apply":           send(types.ApplyPatchType, object),
		"kubectl patch":               kubectl("patch", resource, name, "--type=merge", "-p", patch),
		"kubectl apply":               kubectl("apply", "-f", "-"),
		"kubectl apply --server-side": kubectl("apply", "--server-side", "--force-conflicts", "-f", "-"),
		"kubectl replace":             kubectl("replace", "-f", "-"),
	}
}

// replaced is a JSON patch to the steps of a merge patch.
func replaced(s *scenario, patch string) string {
	s.Helper()
	var merge struct {
		Spec struct {
			Strategy struct {
				Canary struct{ Steps []v1alpha1.CanaryStep }
			}
		}
	}
	s.must(json.Unmarshal([]byte(patch), &merge))
	steps, err := json.Marshal(merge.Spec.Strategy.Canary.Steps)
	s.must(err)
	return `[{"op":"replace","path":"/spec/strategy/canary/steps","value":` + string(steps) + `}]`
}

// Who may edit can take no approval away, in no way; the refusal names the field and the right.
func TestNoEditTakesAnApprovalAway(t *testing.T) {
	s := together(t)
	erin := s.user("erin", "sluice-editor")
	s.alsoHas("erin", "sluice-viewer")
	s.eventually("erin to be known", func(context.Context) bool { return s.granted("erin", "rollouts", "patch") })
	r := s.gated("guarded", erin)
	with := func(change func(*v1alpha1.PauseApproval)) []v1alpha1.CanaryStep {
		step := approval(2, approvers)
		change(step.Pause.Approval)
		return threeSteps(step)
	}
	for what, steps := range map[string][]v1alpha1.CanaryStep{
		"all removed":            nil,
		"the step removed":       {weight(50), weight(100)},
		"a plain pause":          threeSteps(pause()),
		"a timed pause":          threeSteps(pauseFor(1)),
		"fewer people":           with(func(a *v1alpha1.PauseApproval) { a.Required = ptr.To[int32](1) }),
		"everybody":              with(func(a *v1alpha1.PauseApproval) { a.Groups = nil }),
		"authors as well":        with(func(a *v1alpha1.PauseApproval) { a.NotAuthor = ptr.To(false) }),
		"more pods before it":    {weight(100), approval(2, approvers)},
		"moved behind a weight":  {weight(50), weight(100), approval(2, approvers)},
		"a weaker one before it": {weight(50), approval(1, approvers), weight(100)},
	} {
		for way, edit := range s.waysToEdit(erin, "erin", r.Name, stepsPatch(steps...)) {
			if strings.HasPrefix(way, "kubectl") && what != "all removed" && what != "fewer people" {
				continue // It takes its time, and sends what the others send.
			}
			err := edit()
			if err == nil {
				t.Errorf("%s by %s is not refused", what, way)
				continue
			}
			s.contains(err.Error(), asked, `user "erin" cannot override resource "rollouts"`)
			if status := statusOf(err); status != nil && (status.Code != http.StatusForbidden || len(status.Details.Causes) != 1 ||
				status.Details.Causes[0].Type != "RightNeeded" || status.Details.Causes[0].Field != asked) {
				t.Errorf("%s by %s: %+v", what, way, status)
			}
		}
	}
	s.unchanged(r)
	// To ask for more is everybody's to do.
	stricter := stepsPatch(with(func(a *v1alpha1.PauseApproval) { a.Required = ptr.To[int32](3) })...)
	_, err := erin.patch(r.Name, stricter)
	s.must(err)
	s.await(r.Name, waitingAt(1))
	// Besides it takes the update past a step that it waits in.
	s.alsoHas("erin", "sluice-override")
	s.alsoHas("erin", "sluice-promoter")
	s.oncePermitted(func() error {
		_, err := erin.patch(r.Name, stepsPatch(weight(50), weight(100)))
		return err
	})
}

// A plain pause that an update waits in is taken away by who may promote, and by nobody else.
func TestNoEditTakesAPauseAway(t *testing.T) {
	s := together(t)
	erin := s.user("erin", "sluice-editor")
	s.eventually("erin to be known", func(context.Context) bool { return s.granted("erin", "rollouts", "patch") })
	r := s.pausedUpdate("waiting")
	for _, steps := range [][]v1alpha1.CanaryStep{nil, {weight(50), pauseFor(1), pause(), pause(), pause(), weight(100)}, {weight(100), pause(), pause(), pause(), pause()}} {
		_, err := erin.patch(r.Name, stepsPatch(steps...))
		status := s.refused(err, http.StatusForbidden, `user "erin" cannot create resource "rollouts/promote"`)
		if len(status.Details.Causes) != 1 || !strings.HasPrefix(status.Details.Causes[0].Field, "spec.strategy.canary.steps[") {
			t.Errorf("the causes are %+v", status.Details.Causes)
		}
	}
	s.unchanged(r)
	s.alsoHas("erin", "sluice-promoter")
	s.oncePermitted(func() error {
		_, err := erin.patch(r.Name, stepsPatch())
		return err
	})
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
}

// Who is on call takes an update back, whatever it waits for, and cannot bring it on.
func TestAnOperatorMayAlwaysAbort(t *testing.T) {
	s := together(t)
	olga := s.user("olga", "sluice-operator")
	s.eventually("olga to be known", func(context.Context) bool { return s.granted("olga", "rollouts/abort", "create") })
	for name, prepare := range map[string]func(name string){
		"unapproved": func(string) {},
		"approved":   func(name string) { s.releaser("alice", approvers); s.must(s.promoteAs("alice", name, "{}")) },
		"held":       func(name string) { s.must(s.call(http.MethodPost, name, "pause", "{}").err) },
	} {
		r := s.gated(name, s)
		prepare(name)
		s.refused(olga.call(http.MethodPost, name, "promote", "{}").err, http.StatusForbidden, "rollouts/promote")
		_, err := s.kubectlAs("olga", nil, "", "patch", resource, name, "--subresource=abort", "--type=merge", "-p", `{"reason":"on call"}`)
		s.must(err)
		s.awaitPhase(name, v1alpha1.RolloutPhaseDegraded)
		s.awaitPods(r, map[string]int{"one": 2})
		if given := s.get(name).Status.Approvals; len(given) > 0 {
			t.Errorf("%s: still approved: %+v", name, given)
		}
	}
}
