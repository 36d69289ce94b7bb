// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// kinds are the bodies of the subresources, by the methods that they have.
var kinds = map[string]struct {
	kind    string
	methods []string
}{
	"promote": {"Promotion", append([]string{http.MethodGet}, writingMethods...)},
	"abort":   {"Abort", append([]string{http.MethodGet}, writingMethods...)},
	"retry":   {"Retry", append([]string{http.MethodGet}, writingMethods...)},
	"pause":   {"Pause", append([]string{http.MethodGet}, writingMethods...)},
	"resume":  {"Resume", append([]string{http.MethodGet}, writingMethods...)},
	"restart": {"Restart", append([]string{http.MethodGet}, writingMethods...)},
	"undo":    {"Undo", append([]string{http.MethodGet}, writingMethods...)},
	"plan":    {"RolloutPlan", []string{http.MethodGet, http.MethodPost}},
	"explain": {"RolloutExplanation", []string{http.MethodGet}},
}

// schemaPrefix is what the names of Sluice's types begin with.
const schemaPrefix = "dev.sluice.v1alpha1."

// openAPI is what the host publishes of the group, as kubectl and generators of clients read it.
func (s *scenario) openAPI() *spec3.OpenAPI {
	s.Helper()
	content, err := s.Host.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/" + v1alpha1.SchemeGroupVersion.String()).DoRaw(s.ctx())
	s.must(err)
	document := &spec3.OpenAPI{}
	s.must(json.Unmarshal(content, document))
	return document
}

// Every subresource is published with the methods that it has, and with the kind that it takes and answers.
func TestVerbsInOpenAPI(t *testing.T) {
	s := together(t)
	document := s.openAPI()
	for _, verb := range verbNames {
		if _, known := kinds[verb]; !known {
			t.Errorf("the test does not know the kind of %s", verb)
		}
	}
	for subresource, want := range kinds {
		path := document.Paths.Paths["/apis/sluice.dev/v1alpha1/namespaces/{namespace}/rollouts/{name}/"+subresource]
		if path == nil {
			t.Errorf("%s is not published", subresource)
			continue
		}
		operations := map[string]*spec3.Operation{http.MethodGet: path.Get, http.MethodPost: path.Post, http.MethodPut: path.Put, http.MethodPatch: path.Patch,
			http.MethodDelete: path.Delete, http.MethodHead: path.Head, http.MethodOptions: path.Options}
		for method, operation := range operations {
			switch offered := slices.Contains(want.methods, method); {
			case offered != (operation != nil):
				t.Errorf("%s of %s: published is %v instead of %v", method, subresource, operation != nil, offered)
			case offered:
				published(t, method+" of "+subresource, method, operation, want.kind)
			}
		}
	}
}

// published fails the test unless an operation takes and answers this kind.
func published(t *testing.T, what, method string, operation *spec3.Operation, kind string) {
	t.Helper()
	ref := "#/components/schemas/" + schemaPrefix + kind
	if gvk, _ := operation.Extensions["x-kubernetes-group-version-kind"].(map[string]any); gvk["kind"] != kind || gvk["group"] != v1alpha1.GroupName || gvk["version"] != "v1alpha1" {
		t.Errorf("%s is said to be about %v", what, operation.Extensions["x-kubernetes-group-version-kind"])
	}
	taken := map[string]*spec3.MediaType{}
	if operation.RequestBody != nil {
		taken = operation.RequestBody.Content
	}
	switch method {
	case http.MethodGet:
		if len(taken) > 0 {
			t.Errorf("%s takes a body", what)
		}
	case http.MethodPatch:
		if types := slices.Sorted(maps.Keys(taken)); !slices.Contains(types, "application/merge-patch+json") || !slices.Contains(types, "application/json-patch+json") || !slices.Contains(types, "application/strategic-merge-patch+json") {
			t.Errorf("%s takes %v", what, types)
		}
	default:
		if !allOf(taken, ref) {
			t.Errorf("%s does not take %s: %+v", what, kind, taken)
		}
	}
	codes := []int{http.StatusOK}
	if method == http.MethodPost {
		codes = append(codes, http.StatusCreated)
	}
	for _, code := range codes {
		if answer := operation.Responses.StatusCodeResponses[code]; answer == nil || !allOf(answer.Content, ref) {
			t.Errorf("%s does not answer %d with %s: %+v", what, code, kind, answer)
		}
	}
}

// allOf says whether there are media types, and all of them are of a schema.
func allOf(content map[string]*spec3.MediaType, ref string) bool {
	for _, media := range content {
		if media.Schema == nil || media.Schema.Ref.String() != ref {
			return false
		}
	}
	return len(content) > 0
}

// Every type of Sluice, and every field of it, says what it is for.
func TestDescriptionsInOpenAPI(t *testing.T) {
	s := together(t)
	types := map[string]*spec.Schema{}
	for name, schema := range s.openAPI().Components.Schemas {
		if kind, ours := strings.CutPrefix(name, schemaPrefix); ours {
			types[kind] = schema
		}
	}
	for _, kind := range []string{"Rollout", "RolloutSpec", "RolloutStatus", "RolloutStrategy", "BlueGreenStrategy", "CanaryStep", "PauseApproval", "RolloutAction", "RolloutTree", "VerbExpectation"} {
		if types[kind] == nil {
			t.Errorf("%s is not published", kind)
		}
	}
	for _, subresource := range kinds {
		if types[subresource.kind] == nil {
			t.Errorf("%s is not published", subresource.kind)
		}
	}
	fields := 0
	for kind, schema := range types {
		if strings.TrimSpace(schema.Description) == "" {
			t.Errorf("%s has no description", kind)
		}
		for name, property := range schema.Properties {
			if fields++; strings.TrimSpace(property.Description) == "" {
				t.Errorf("%s.%s has no description", kind, name)
			}
		}
	}
	t.Logf("%d types with %d fields", len(types), fields)
}
