// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// The host puts what the server asks of it where artifacts/base wants it: what others wait for, and the Lease, before the
// work of the controller. Nobody else is put there.
func TestPriorityAtTheHost(t *testing.T) {
	s := together(t)
	token, err := s.Host.CoreV1().ServiceAccounts("sluice-system").CreateToken(s.ctx(), "sluice-apiserver", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	s.must(err)
	server := rest.AnonymousClientConfig(s.Config)
	server.BearerToken = token.Status.Token
	const (
		review = `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "none"}}`
		access = `{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "violet", "nonResourceAttributes": {"path": "/", "verb": "get"}}}`
	)
	for _, request := range []struct {
		config             *rest.Config
		method, path, body string
		level              string
	}{
		{server, http.MethodGet, "/apis/apps/v1/replicasets?limit=1", "", "sluice-work"},
		{server, http.MethodGet, "/api/v1/namespaces/" + s.namespace + "/pods?labelSelector=sluice.dev/pod-template-hash", "", "sluice-work"},
		{server, http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", review, "sluice-urgent"},
		{server, http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", access, "sluice-urgent"},
		{server, http.MethodGet, "/apis/coordination.k8s.io/v1/namespaces/sluice-system/leases/sluice-controller", "", "sluice-urgent"},
		{s.Config, http.MethodGet, "/apis/apps/v1/replicasets?limit=1", "", "exempt"},
	} {
		schema, level := s.priority(request.level)
		response := s.respond(request.config, request.method, request.path, request.body)
		if response.StatusCode >= http.StatusMultipleChoices {
			t.Errorf("%s %s is answered with %s", request.method, request.path, response.Status)
		}
		got, gotLevel := response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID), response.Header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)
		if got != schema || gotLevel != level {
			t.Errorf("%s %s has FlowSchema %s and priority level %s, not those of %s: %s, %s", request.method, request.path, got, gotLevel, request.level, schema, level)
		}
	}
	// So it is with the server that runs.
	metrics, err := s.Host.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(s.ctx())
	s.must(err)
	for _, schema := range []string{"sluice-work", "sluice-urgent"} {
		series := fmt.Sprintf(`apiserver_flowcontrol_dispatched_requests_total{flow_schema=%q,priority_level=%q}`, schema, schema)
		if !strings.Contains(string(metrics), series) {
			t.Errorf("no request was ever dispatched by FlowSchema %s", schema)
		}
	}
}

// priority is the identity of a FlowSchema, and of the priority level of the same name.
func (s *scenario) priority(name string) (schema, level string) {
	s.Helper()
	found, err := s.Host.FlowcontrolV1().FlowSchemas().Get(s.ctx(), name, metav1.GetOptions{})
	s.must(err)
	leads, err := s.Host.FlowcontrolV1().PriorityLevelConfigurations().Get(s.ctx(), found.Spec.PriorityLevelConfiguration.Name, metav1.GetOptions{})
	s.must(err)
	return string(found.UID), string(leads.UID)
}

// respond sends one request and returns the response, whose body is closed.
func (s *scenario) respond(config *rest.Config, method, path, body string) *http.Response {
	s.Helper()
	client, err := rest.HTTPClientFor(config)
	s.must(err)
	request, err := http.NewRequestWithContext(s.ctx(), method, config.Host+path, strings.NewReader(body))
	s.must(err)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	s.must(err)
	s.must(response.Body.Close())
	return response
}
