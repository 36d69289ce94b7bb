// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/test/cluster"
)

// answer is what a server answers to one request.
type answer struct {
	// code is 0 if there was no answer; body tells why.
	code       int
	retryAfter string
	status     metav1.Status
	body       string
}

// ask sends one request. The clients of Kubernetes repeat what is answered with 503; this one does not.
func (s *scenario) ask(base, method, path, body string) answer {
	client, err := rest.HTTPClientFor(s.insecure())
	if err != nil {
		return answer{body: err.Error()}
	}
	request, err := http.NewRequestWithContext(s.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		return answer{body: err.Error()}
	}
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	a := answer{code: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), body: string(content)}
	if err := json.Unmarshal(content, &a.status); err != nil {
		a.status.Message = a.body
	}
	return a
}

// insecure is the administrator's configuration for servers with a certificate of any authority.
func (s *scenario) insecure() *rest.Config {
	config := rest.CopyConfig(s.Config)
	config.Insecure, config.CAData, config.CAFile = true, nil, ""
	return config
}

// awaitClosed waits until the server answers 503 with these words.
func (s *scenario) awaitClosed(words ...string) {
	s.Helper()
	s.eventually("503 with "+strings.Join(words, ", "), func(context.Context) bool {
		got := s.ask(s.Config.Host, http.MethodGet, "/apis/sluice.dev/v1alpha1/rollouts", "")
		if got.code != http.StatusServiceUnavailable {
			return false
		}
		for _, word := range words {
			if !strings.Contains(got.status.Message, word) {
				return false
			}
		}
		return true
	})
}

// closedToEverything fails the test unless every request for a resource is answered with 503 that names the
// missing Rollout, through the host and directly, while discovery, OpenAPI and liveness answer.
func (s *scenario) closedToEverything(missing string) {
	s.Helper()
	component, err := s.Component(cluster.Server)
	s.must(err)
	collection := "/apis/sluice.dev/v1alpha1/namespaces/" + s.namespace + "/rollouts"
	body := encode(manifest(newRollout("late", 1)))
	for _, base := range []string{s.Config.Host, component.URL} {
		for _, request := range []struct{ method, path, body string }{
			{http.MethodGet, "/apis/sluice.dev/v1alpha1/rollouts", ""},
			{http.MethodGet, collection, ""},
			{http.MethodGet, collection + "?watch=true", ""},
			{http.MethodGet, collection + "/first", ""},
			{http.MethodGet, collection + "/first/status", ""},
			{http.MethodGet, collection + "/first/scale", ""},
			{http.MethodPost, collection, body},
			{http.MethodPost, collection + "?dryRun=All", body},
			{http.MethodPost, collection + "/first/promote", "{}"},
			{http.MethodPut, collection + "/late", body},
			{http.MethodPatch, collection + "/first", "{}"},
			{http.MethodDelete, collection + "/first", ""},
			{http.MethodDelete, collection, ""},
		} {
			got := s.ask(base, request.method, request.path, request.body)
			if got.code != http.StatusServiceUnavailable || got.retryAfter == "" || !strings.Contains(got.status.Message, missing) {
				s.Errorf("%s %s%s is answered with %d, Retry-After %q: %s", request.method, base, request.path, got.code, got.retryAfter, got.body)
			}
		}
		for _, path := range []string{"/apis/sluice.dev/v1alpha1", "/openapi/v3/apis/sluice.dev/v1alpha1"} {
			if got := s.ask(base, http.MethodGet, path, ""); got.code != http.StatusOK {
				s.Errorf("%s%s is answered with %d: %s", base, path, got.code, got.body)
			}
		}
	}
	if got := s.ask(component.URL, http.MethodGet, "/livez", ""); got.code != http.StatusOK {
		s.Errorf("/livez is answered with %d: %s", got.code, got.body)
	}
	if got := s.ask(component.URL, http.MethodGet, "/readyz", ""); got.code == http.StatusOK || !strings.Contains(got.body, "owner-guard") {
		s.Errorf("/readyz is answered with %d: %s", got.code, got.body)
	}
}

// availability watches the APIService.
type availability struct {
	stop context.CancelFunc
	lost chan string
}

// watchAvailable waits until the APIService is Available and watches that it stays so.
func (s *scenario) watchAvailable() *availability {
	s.Helper()
	source := s.APIService("v1alpha1.sluice.dev")
	_, err := cluster.Await(s.ctx(), source, func(found []*unstructured.Unstructured) string {
		is, why := isAvailable(found)
		return unless(is, "Available; it is "+why)
	})
	s.must(err)
	ctx, stop := context.WithCancel(s.Context())
	a := &availability{stop: stop, lost: make(chan string, 1)}
	go func() {
		defer close(a.lost)
		_, err := cluster.Await(ctx, source, func(found []*unstructured.Unstructured) string {
			is, why := isAvailable(found)
			if !is {
				a.lost <- why
			}
			return unless(!is, "not Available")
		})
		if ctx.Err() == nil && err != nil {
			a.lost <- err.Error()
		}
	}()
	return a
}

// check ends the watch, and fails the test if the APIService was not Available all along.
func (a *availability) check(s *scenario) {
	s.Helper()
	a.stop()
	if why, lost := <-a.lost; lost {
		s.Errorf("the APIService did not stay Available: %s", why)
	}
}

func isAvailable(found []*unstructured.Unstructured) (is bool, why string) {
	if len(found) != 1 {
		return false, "not there"
	}
	conditions, _, err := unstructured.NestedSlice(found[0].Object, "status", "conditions")
	if err != nil {
		return false, err.Error()
	}
	for _, entry := range conditions {
		condition, ok := entry.(map[string]any)
		if ok && condition["type"] == "Available" {
			return condition["status"] == "True", fmt.Sprint(condition["reason"], ": ", condition["message"])
		}
	}
	return false, "not judged yet"
}
