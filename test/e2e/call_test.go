// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/diff"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// verbNames are all verbs, as their subresources are called.
var verbNames = []string{"promote", "abort", "retry", "pause", "resume", "restart", "undo"}

// writingMethods are the ways to perform a verb.
var writingMethods = []string{http.MethodPost, http.MethodPut, http.MethodPatch}

// rbacVerbs is the right that a method needs.
var rbacVerbs = map[string]string{http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update", http.MethodPatch: "patch"}

// reply is what was answered to a call: a code, and either an error or the body of the verb.
type reply struct {
	code int
	err  error
	verb struct {
		metav1.ObjectMeta `json:"metadata"`
		Status            v1alpha1.VerbStatus `json:"status"`
	}
}

// call calls a subresource with a body in JSON. More pairs of parameters may follow.
func (s *scenario) call(method, name, subresource, body string, params ...string) reply {
	request := s.Sluice.SluiceV1alpha1().RESTClient().Verb(method).AbsPath(s.verbPath(name, subresource)).SetHeader("Accept", "application/json")
	for pair := range slices.Chunk(params, 2) {
		request.Param(pair[0], pair[1])
	}
	switch method {
	case http.MethodPatch:
		request.SetHeader("Content-Type", string(types.MergePatchType)).Body([]byte(body))
	case http.MethodPut:
		request.SetHeader("Content-Type", "application/json").Body([]byte(named(name, body)))
	case http.MethodPost:
		request.SetHeader("Content-Type", "application/json").Body([]byte(body))
	}
	var r reply
	result := request.Do(s.ctx()).StatusCode(&r.code)
	// Only Error tells what the server said.
	if r.err = result.Error(); r.err != nil {
		return r
	}
	content, err := result.Raw()
	if r.err = err; err == nil {
		r.err = json.Unmarshal(content, &r.verb)
	}
	return r
}

// dry calls a subresource as a dry run.
func (s *scenario) dry(method, name, subresource, body string) reply {
	if method == http.MethodGet {
		return s.call(method, name, subresource, body)
	}
	return s.call(method, name, subresource, body, "dryRun", metav1.DryRunAll)
}

// named is a body with the name of the Rollout, which a PUT must carry.
func named(name, body string) string {
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		panic(err) // The bodies are written in the tests.
	}
	object["metadata"] = map[string]any{"name": name}
	return encode(object)
}

// unchanged fails the test if anybody but the controller has changed the Rollout since: what it observes of pods
// may come in late.
func (s *scenario) unchanged(before *v1alpha1.Rollout) {
	s.Helper()
	if got, want := decided(s.get(before.Name)), decided(before); !apiequality.Semantic.DeepEqual(got, want) {
		s.Errorf("%s was changed: %s", before.Name, diff.Diff(want, got))
	}
}

// decided is what people decide about a Rollout, as against what the controller observes.
func decided(r *v1alpha1.Rollout) *v1alpha1.Rollout {
	status := r.Status.DeepCopy()
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{UID: r.UID, Generation: r.Generation, Labels: r.Labels, Annotations: r.Annotations},
		Spec:       *r.Spec.DeepCopy(),
		Status: v1alpha1.RolloutStatus{
			Revision: status.Revision, CurrentStepIndex: status.CurrentStepIndex, Abort: status.Abort, PromoteFull: status.PromoteFull,
			PauseConditions: status.PauseConditions, Actions: status.Actions, Approvals: status.Approvals, TemplateAuthors: status.TemplateAuthors,
		},
	}
}

// observed waits until the controller has seen the last change of the spec, before which some verbs are refused.
func (s *scenario) observed(name string) *v1alpha1.Rollout {
	s.Helper()
	return s.await(name, func(r *v1alpha1.Rollout) string {
		return unless(r.Status.ObservedGeneration == r.Generation, "observed")
	})
}
