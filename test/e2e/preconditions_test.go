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

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// expecting is the body of a verb that expects all of this.
func expecting(revision int64, podHash string, stepIndex int32, uid, resourceVersion string) string {
	return encode(map[string]any{"expect": map[string]any{
		"revision": revision, "podHash": podHash, "stepIndex": stepIndex, "uid": uid, "resourceVersion": resourceVersion}})
}

// By every method, a verb is performed only if the Rollout is what the caller expects, and only once under the same
// requestID.
func TestPreconditionsAndRequestIDs(t *testing.T) {
	s := together(t)
	other := s.releaser("other")
	r := s.pausedUpdate("expected")
	for i, method := range writingMethods {
		t.Run(method, func(t *testing.T) {
			of := &scenario{t, s.Cluster, s.namespace}
			before := of.atPause(r.Name, int32(i)+1)
			of.expects(method, before)
			of.once(other, method, before)
		})
	}
}

// expects fails the test unless a method holds each expectation, and tells of each that does not hold.
func (s *scenario) expects(method string, r *v1alpha1.Rollout) {
	s.Helper()
	wrong := expecting(r.Status.Revision+1, "another", 0, "00000000-0000-0000-0000-000000000000", "1")
	status := s.refused(s.call(method, r.Name, "promote", wrong).err, http.StatusConflict, "revision", "another")
	var fields []string
	for _, cause := range status.Details.Causes {
		if cause.Type != "PreconditionFailed" || cause.Message == "" {
			s.Errorf("%s: %+v", method, cause)
		}
		fields = append(fields, cause.Field)
	}
	slices.Sort(fields)
	if want := []string{"expect.podHash", "expect.resourceVersion", "expect.revision", "expect.stepIndex", "expect.uid"}; !slices.Equal(fields, want) {
		s.Errorf("%s: the causes are about %v instead of %v", method, fields, want)
	}
	if status := s.refused(s.call(method, r.Name, "promote", `{"expect":{"stepIndex":5}}`).err, http.StatusConflict); len(status.Details.Causes) != 1 {
		s.Errorf("%s: the causes are %+v", method, status.Details.Causes)
	}
	s.unchanged(r)
	s.eventually("all that is expected to hold", func(context.Context) bool { // The controller may write in between.
		now := s.get(r.Name)
		right := expecting(now.Status.Revision, now.Status.CurrentPodHash, *now.Status.CurrentStepIndex, string(now.UID), now.ResourceVersion)
		return s.dry(method, r.Name, "promote", right).err == nil
	})
}

// once fails the test unless a method performs a verb once under a requestID.
func (s *scenario) once(other *scenario, method string, r *v1alpha1.Rollout) {
	s.Helper()
	body := `{"requestID":"of-` + method + `","reason":"once"}`
	codes := []int{http.StatusOK, http.StatusOK}
	if method == http.MethodPost {
		codes[0] = http.StatusCreated
	}
	s.must(s.dry(method, r.Name, "promote", body).err) // It is not remembered.
	first := s.call(method, r.Name, "promote", body)
	s.must(first.err)
	after := s.atPause(r.Name, *r.Status.CurrentStepIndex+1)
	again := s.call(method, r.Name, "promote", body)
	s.must(again.err)
	if got := []int{first.code, again.code}; !slices.Equal(got, codes) {
		s.Errorf("%s twice is answered with %v instead of %v", method, got, codes)
	}
	if first.verb.Status.Action == nil || !apiequality.Semantic.DeepEqual(first.verb.Status, again.verb.Status) {
		s.Errorf("%s twice is answered with %+v, then %+v", method, first.verb.Status, again.verb.Status)
	}
	if n := len(after.Status.Actions); n != len(r.Status.Actions)+1 || *after.Status.CurrentStepIndex != *r.Status.CurrentStepIndex+1 {
		s.Errorf("%s: after %d actions at step %d there are %d at step %d", method, len(r.Status.Actions), *r.Status.CurrentStepIndex, n, *after.Status.CurrentStepIndex)
	}
	for what, err := range map[string]error{
		"another body": s.call(method, r.Name, "promote", strings.Replace(body, "once", "twice", 1)).err,
		"another verb": s.call(method, r.Name, "abort", body).err,
		"another user": other.call(method, r.Name, "promote", body).err,
	} {
		if status := s.refused(err, http.StatusConflict); len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != "RequestIDReused" {
			s.Errorf("%s under the same requestID by %s: %+v", what, method, status.Details.Causes)
		}
	}
	s.unchanged(after)
}

// What a GET answered is put back as long as it is true; after somebody else has acted, it is a conflict.
func TestAStateThatIsOutdatedIsNotPutBack(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("outdated")
	client, path := s.Sluice.SluiceV1alpha1().RESTClient(), s.verbPath(r.Name, "promote")
	read, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(s.ctx())
	s.must(err)
	s.must(s.call(http.MethodPost, r.Name, "promote", "{}").err)
	before := s.atPause(r.Name, 2)
	err = client.Put().AbsPath(path).SetHeader("Content-Type", "application/json").Body(read).Do(s.ctx()).Error()
	status := s.refused(err, http.StatusConflict)
	if len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != "PreconditionFailed" || status.Details.Causes[0].Field != "metadata.resourceVersion" {
		t.Errorf("the causes are %+v", status.Details.Causes)
	}
	s.unchanged(before)
}

// owners are the managers that own spec.paused, each as by an Update of the Rollout itself.
func (s *scenario) owners(name string) []string {
	s.Helper()
	var owners []string
	for _, entry := range s.get(name).ManagedFields {
		var fields struct {
			Spec map[string]any `json:"f:spec"`
		}
		s.must(json.Unmarshal(entry.FieldsV1.Raw, &fields))
		if _, owned := fields.Spec["f:paused"]; owned {
			owners = append(owners, fmt.Sprint(entry.Manager, entry.Operation, entry.Subresource))
		}
	}
	return owners
}

// Whoever pauses owns spec.paused by the name of its client, as every API server takes it, or by the fieldManager that it
// gives; once it is resumed nobody does. Other verbs own nothing.
func TestOwnersOfWhatVerbsChange(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("owned")
	config := rest.CopyConfig(s.Config)
	config.UserAgent = "release-tool/1.2 (linux; of example.com)"
	tool := s.with(config)
	for _, method := range writingMethods {
		for manager, params := range map[string][]string{"release-tool": nil, "given": {"fieldManager", "given"}} {
			s.must(tool.call(method, r.Name, "pause", "{}", params...).err)
			if got, want := s.owners(r.Name), []string{manager + string(metav1.ManagedFieldsOperationUpdate)}; !slices.Equal(got, want) {
				t.Errorf("after a pause by %s with %v, spec.paused is owned by %v instead of %v", method, params, got, want)
			}
			s.must(s.call(method, r.Name, "resume", "{}").err)
			if got := s.owners(r.Name); got != nil {
				t.Errorf("after a resume by %s, spec.paused is owned by %v", method, got)
			}
		}
	}
	owned := func() (list []metav1.ManagedFieldsEntry) {
		for _, entry := range s.get(r.Name).ManagedFields {
			if entry.Subresource == "" {
				list = append(list, entry)
			}
		}
		return list
	}
	before := s.observed(r.Name)
	entries := owned()
	s.must(tool.call(http.MethodPost, before.Name, "promote", "{}").err)
	s.must(tool.call(http.MethodPost, before.Name, "abort", "{}").err)
	if after := owned(); !apiequality.Semantic.DeepEqual(after, entries) {
		t.Errorf("after promote and abort the owners are %+v instead of %+v", after, entries)
	}
}
