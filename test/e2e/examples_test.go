// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// example applies an example policy as it ships, and takes it away in the end. Only namespaces that ask for it
// notice.
func (s *scenario) example(name string) {
	s.Helper()
	file := filepath.Join(s.Repository(), "artifacts", "examples", "policies", name+".yaml")
	s.kubectl("apply", "-f", file)
	s.Cleanup(func() {
		if output, err := s.Kubectl(context.WithoutCancel(s.Context()), "", "delete", "--ignore-not-found", "-f", file); err != nil || output.Code != 0 {
			s.Errorf("%v: %s", err, output.Stderr)
		}
	})
}

// mark sets a label or an annotation of the namespace of the test; null takes it away.
func (s *scenario) mark(kind, key string, value any) {
	s.Helper()
	patch := encode(map[string]any{"metadata": map[string]any{kind: map[string]any{key: value}}})
	_, err := s.Host.CoreV1().Namespaces().Patch(s.ctx(), s.namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

// wellTyped fails the test if the cluster finds an expression of a policy doubtful.
func (s *scenario) wellTyped(name string) {
	s.Helper()
	s.eventually("the types of the policy to be checked", func(ctx context.Context) bool {
		policy, err := s.Host.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, name, metav1.GetOptions{})
		s.must(err)
		if policy.Status.ObservedGeneration < policy.Generation || policy.Status.TypeChecking == nil {
			return false
		}
		for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
			s.Errorf("%s: %s: %s", name, warning.FieldRef, warning.Warning)
		}
		return true
	})
}

// edits are the ways to change a Rollout other than by a verb.
func (s *scenario) edits(name, mergePatch string) map[string]func() error {
	return map[string]func() error{
		"merge patch": func() error { _, err := s.patch(name, mergePatch); return err },
		"server-side apply": func() error {
			object := mergedManifest(s, name, mergePatch)
			_, err := s.rollouts().Patch(s.ctx(), name, types.ApplyPatchType, []byte(object), metav1.PatchOptions{FieldManager: "e2e", Force: ptr.To(true)})
			return err
		},
		"PUT": func() error {
			var r v1alpha1.Rollout
			s.must(json.Unmarshal([]byte(mergedManifest(s, name, mergePatch)), &r))
			r.ResourceVersion = s.get(name).ResourceVersion
			_, err := s.rollouts().Update(s.ctx(), &r, metav1.UpdateOptions{})
			return err
		},
		"kubectl patch": func() error { return s.run("", "patch", resource, name, "--type=merge", "-p", mergePatch).Err() },
	}
}

// mergedManifest is what is stored, as a person would write it, with a change.
func mergedManifest(s *scenario, name, patch string) string {
	s.Helper()
	r := s.get(name)
	r.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Rollout"}
	r.ObjectMeta = metav1.ObjectMeta{Name: r.Name}
	return encode(mergePatch(s, manifest(r), patch))
}

// everyEditRefused makes a change in every way, and fails the test unless each is refused with these words.
func (s *scenario) everyEditRefused(name, patch string, words ...string) {
	s.Helper()
	for way, edit := range s.edits(name, patch) {
		err := edit()
		if err == nil {
			s.Errorf("%s of %s is not refused", way, patch)
			continue
		}
		s.contains(err.Error(), words...)
	}
}

// everyCallRefused calls a verb in every way, and fails the test unless each is refused with these words.
func (s *scenario) everyCallRefused(name, verb, body string, code int32, words ...string) {
	s.Helper()
	for _, method := range writingMethods {
		s.refused(s.call(method, name, verb, body).err, code, words...)
	}
	output := s.run("", "patch", resource, name, "--subresource="+verb, "--type=merge", "-p", body)
	if output.Code == 0 {
		s.Errorf("kubectl patch --subresource=%s is not refused", verb)
	}
	s.contains(output.Stderr, words...)
}

// newTag is a change of the template.
func newTag(tag string) string {
	return fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":%q}]}}}}`, image(tag))
}

// In a frozen namespace nothing is released, in no way; whoever must can still abort.
func TestFreezePolicy(t *testing.T) {
	s := together(t)
	s.example("freeze")
	s.wellTyped("freeze.rollouts.sluice.dev")
	r := s.pausedUpdate("frozen")
	_, err := s.rollouts().Pause(s.ctx(), r.Name, &v1alpha1.Pause{}, metav1.CreateOptions{})
	s.must(err)
	s.observed(r.Name)
	const why = "ask Jane until Monday"
	s.mark("annotations", "sluice.dev/freeze", why)
	s.eventually("the freeze", func(context.Context) bool {
		return s.dry(http.MethodPost, r.Name, "resume", "{}").code == http.StatusForbidden
	})
	before := s.get(r.Name)
	for _, verb := range []string{"promote", "retry", "resume", "undo"} {
		s.everyCallRefused(r.Name, verb, "{}", http.StatusForbidden, why)
	}
	s.everyCallRefused(r.Name, "promote", `{"full":true,"override":true}`, http.StatusForbidden, why)
	s.contains(s.run("", "sluice", "promote", r.Name).Stderr, why)
	s.everyEditRefused(r.Name, newTag("three"), why)
	s.everyEditRefused(r.Name, `{"spec":{"strategy":{"canary":{"steps":[]}}}}`, why)
	s.everyEditRefused(r.Name, `{"spec":{"paused":false}}`, why)
	_, err = s.rollouts().Create(s.ctx(), newRollout("another", 1), metav1.CreateOptions{})
	s.refused(err, http.StatusForbidden, why)
	s.unchanged(before)

	s.kubectl("scale", resource, r.Name, "--replicas=4")
	s.must(s.call(http.MethodPost, r.Name, "restart", "{}").err)
	s.must(s.call(http.MethodPatch, r.Name, "abort", `{"reason":"broken"}`).err)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.refused(s.call(http.MethodPost, r.Name, "retry", "{}").err, http.StatusForbidden, why)

	s.mark("annotations", "sluice.dev/freeze", nil)
	s.eventually("the thaw", func(context.Context) bool { return s.call(http.MethodPost, r.Name, "resume", "{}").err == nil })
	s.eventually("the retry", func(context.Context) bool { return s.call(http.MethodPost, r.Name, "retry", "{}").err == nil })
	s.atPause(r.Name, 1)
}

// The calendar policy goes by the time that the server stamps. Here it is made to hold on all days, and on none.
func TestCalendarPolicy(t *testing.T) {
	s := together(t)
	const policy = "calendar.rollouts.sluice.dev"
	s.example("calendar")
	s.wellTyped(policy)
	days := func(list string) {
		t.Helper()
		policies := s.Host.AdmissionregistrationV1().ValidatingAdmissionPolicies()
		_, err := policies.Patch(s.ctx(), policy, types.JSONPatchType, []byte(`[
			{"op":"test","path":"/spec/variables/0/name","value":"days"},
			{"op":"replace","path":"/spec/variables/0/expression","value":"`+list+`"}]`), metav1.PatchOptions{})
		s.must(err)
	}
	days("[0, 1, 2, 3, 4, 5, 6]")
	r := s.pausedUpdate("weekly")
	s.mark("labels", "policy.sluice.dev/calendar", "enforce")
	s.eventually("the policy to hold", func(context.Context) bool {
		return s.dry(http.MethodPost, r.Name, "promote", "{}").code == http.StatusForbidden
	})
	const why = "nothing is promoted on this day of the week"
	s.everyCallRefused(r.Name, "promote", "{}", http.StatusForbidden, why)
	s.everyCallRefused(r.Name, "undo", "{}", http.StatusForbidden, why)
	s.unchanged(r)
	s.noEditMovesItOn(r.Name)
	// Other verbs go through, and what they leave in status.actions is not taken for a promote.
	s.must(s.call(http.MethodPost, r.Name, "abort", "{}").err)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.everyCallRefused(r.Name, "retry", "{}", http.StatusForbidden, why)
	s.everyCallRefused(r.Name, "resume", "{}", http.StatusForbidden, why)
	// Steps of what was aborted are free to be changed: only a retry begins them.
	_, err := s.patch(r.Name, stepsPatch(weight(50), pause(), weight(75), pause()))
	s.must(err)
	days("[7]")
	s.eventually("a day on which it does not hold", func(context.Context) bool { return s.call(http.MethodPost, r.Name, "resume", "{}").err == nil })
	s.observed(r.Name)
	s.must(s.call(http.MethodPost, r.Name, "retry", "{}").err)
	s.atPause(r.Name, 1)
	// An edit has no time to tell the day by, so it stays refused.
	s.noEditMovesItOn(r.Name)
	s.must(s.call(http.MethodPost, r.Name, "resume", "{}").err)
	s.observed(r.Name)
	s.must(s.call(http.MethodPost, r.Name, "promote", "{}").err)
	// An edit by hand after a promote is not one.
	days("[0, 1, 2, 3, 4, 5, 6]")
	s.eventually("the policy to hold again", func(context.Context) bool {
		return s.dry(http.MethodPost, r.Name, "promote", "{}").code == http.StatusForbidden
	})
	s.kubectl("annotate", resource, r.Name, "note=edited")
	// The stable template again takes the update back, whatever else that edit changes; then nothing is in flight.
	s.atPause(r.Name, 3)
	s.must(s.call(http.MethodPost, r.Name, "pause", "{}").err)
	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.Template.Spec.Containers[0].Image, r.Spec.Paused = image("one"), false
		r.Spec.Strategy.Canary.Steps = []v1alpha1.CanaryStep{weight(50), pause()}
	})
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitPods(r, map[string]int{"one": 2})
	_, err = s.patch(r.Name, stepsPatch(weight(25), pause()))
	s.must(err)
}

// noEditMovesItOn fails the test if an edit can move an update on that waits in a pause step: by another strategy, by
// one that takes no steps, by a template with it, or by ending a pause by hand.
func (s *scenario) noEditMovesItOn(name string) {
	s.Helper()
	const why = "an edit may not move an update on here"
	before := s.get(name)
	s.everyEditRefused(name, stepsPatch(), why)
	blueGreen := newBlueGreen(name, 2).Spec.Strategy.BlueGreen
	for _, patch := range []string{
		stepsPatch(weight(50), pauseFor(1), pause(), pause(), pause(), weight(100)),
		`{"spec":{"rollbackWindow":{"revisions":5}}}`,
		encode(map[string]any{"spec": map[string]any{"strategy": map[string]any{"canary": nil, "blueGreen": blueGreen}}}),
		encode(mergePatch(s, mergePatch(s, map[string]any{}, stepsPatch()), newTag("three"))),
	} {
		_, err := s.patch(name, patch)
		s.refused(err, http.StatusForbidden, why)
	}
	s.unchanged(before)
	s.must(s.call(http.MethodPost, name, "pause", "{}").err)
	s.everyEditRefused(name, `{"spec":{"paused":false}}`, why)
	_, err := s.patch(name, `{"spec":{"paused":null}}`)
	s.refused(err, http.StatusForbidden, why)
	if !s.get(name).Spec.Paused {
		s.Error("not paused any more")
	}
}

// Without a digest no image gets into a Rollout: not by create, edit or apply, and not by undo either.
func TestDigestPolicy(t *testing.T) {
	s := together(t)
	s.example("digest")
	s.wellTyped("digest.rollouts.sluice.dev")
	digest := image("two") + "@sha256:" + strings.Repeat("0123456789abcdef", 4)
	r := s.deploy(newRollout("pinned", 2, weight(50), pause()))
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Template.Spec.Containers[0].Image = digest })
	s.atPause(r.Name, 1)
	s.mark("labels", "policy.sluice.dev/digest", "enforce")
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	s.eventually("the policy to hold", func(context.Context) bool {
		_, err := s.rollouts().Create(s.ctx(), newRollout("tagged", 1), dry)
		return err != nil
	})
	const why = "images must be given with their digest"
	_, err := s.rollouts().Create(s.ctx(), newRollout("tagged", 1), metav1.CreateOptions{})
	s.refused(err, http.StatusUnprocessableEntity, why, image("one"))
	before := s.get(r.Name)
	s.everyEditRefused(r.Name, newTag("three"), why, image("three"))
	s.everyEditRefused(r.Name, `{"spec":{"template":{"spec":{"initContainers":[{"name":"first","image":"example.com/setup:1"}]}}}}`, why, "example.com/setup:1")
	s.everyCallRefused(r.Name, "undo", "{}", http.StatusUnprocessableEntity, why, image("one"))
	s.everyCallRefused(r.Name, "undo", `{"toRevision":1}`, http.StatusUnprocessableEntity, why, image("one"))
	s.contains(s.run("", "sluice", "undo", r.Name).Stderr, why)
	s.unchanged(before)
	// The other verbs, and edits that leave the template alone, go through.
	s.must(s.call(http.MethodPost, r.Name, "promote", "{}").err)
	s.kubectl("scale", resource, r.Name, "--replicas=1")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	another := newRollout("another", 1)
	another.Spec.Template.Spec.Containers[0].Image = digest
	s.create(another)
}

// Verbs need a reason, whichever way they are called; an abort does not.
func TestReasonPolicy(t *testing.T) {
	s := together(t)
	s.example("reason")
	s.wellTyped("reason.rollouts.sluice.dev")
	r := s.pausedUpdate("reasoned")
	s.mark("labels", "policy.sluice.dev/reason", "enforce")
	s.eventually("the policy to hold", func(context.Context) bool { return s.dry(http.MethodPost, r.Name, "promote", "{}").err != nil })
	for _, verb := range verbNames {
		if verb != "abort" {
			s.everyCallRefused(r.Name, verb, `{"reason":" "}`, http.StatusUnprocessableEntity, "say why: "+verb)
		}
	}
	s.unchanged(r)
	s.must(s.call(http.MethodPatch, r.Name, "promote", `{"reason":"all is well"}`).err)
	s.must(s.call(http.MethodPost, r.Name, "abort", "{}").err)
}

// Nobody promotes in full, whichever way; one step is fine.
func TestNoFullPolicy(t *testing.T) {
	s := together(t)
	s.example("no-full")
	s.wellTyped("no-full.rollouts.sluice.dev")
	r := s.pausedUpdate("stepwise")
	s.mark("labels", "policy.sluice.dev/no-full", "enforce")
	const why = "one step at a time"
	s.eventually("the policy to hold", func(context.Context) bool {
		return s.dry(http.MethodPost, r.Name, "promote", `{"full":true}`).err != nil
	})
	s.everyCallRefused(r.Name, "promote", `{"full":true}`, http.StatusForbidden, why)
	s.unchanged(r)
	s.must(s.call(http.MethodPut, r.Name, "promote", "{}").err)
}
