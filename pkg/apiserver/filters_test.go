// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// lateAuthority is an authority that the host has not told yet.
type lateAuthority struct {
	dynamiccertificates.CAContentProvider
	bundle []byte
}

func (l *lateAuthority) CurrentCABundleContent() []byte { return l.bundle }

func TestNobodyIsAnonymousForWantOfAnAuthority(t *testing.T) {
	authority := &lateAuthority{}
	identity := authentication{frontProxy: authority}
	handler := identity.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	answer := func(path string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		return recorder
	}
	const rollouts = "/apis/sluice.dev/v1alpha1/rollouts"
	if early := answer(rollouts); early.Code != http.StatusServiceUnavailable || early.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d, want 503 with Retry-After while identities cannot be told", early.Code)
	}
	if identity.Check(nil) == nil {
		t.Error("ready without an authority")
	}
	if health := answer("/livez"); health.Code != http.StatusForbidden {
		t.Errorf("answered %d for health, which is nobody's business", health.Code)
	}
	authority.bundle = []byte("PEM")
	if later := answer(rollouts); later.Code != http.StatusForbidden {
		t.Errorf("answered %d, want the real answer once identities can be told", later.Code)
	}
}

func TestFieldValidationIsStrictByDefault(t *testing.T) {
	tests := []struct {
		rule, query, verb, group, want string
	}{
		{"a create that does not say", "", "create", "sluice.dev", "Strict"},
		{"a patch that does not say", "dryRun=All", "patch", "sluice.dev", "Strict"},
		{"who asks for Warn gets it", "fieldValidation=Warn", "update", "sluice.dev", "Warn"},
		{"who asks for Ignore gets it", "fieldValidation=Ignore", "create", "sluice.dev", "Ignore"},
		{"a read has no fields", "", "get", "sluice.dev", ""},
		{"other groups are not ours", "", "create", "apps", ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var got string
			handler := withStrictFields(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				got = req.URL.Query().Get(fieldValidation)
			}))
			req := httptest.NewRequest(http.MethodPost, "/?"+test.query, nil)
			info := &request.RequestInfo{IsResourceRequest: true, APIGroup: test.group, Verb: test.verb}
			handler.ServeHTTP(httptest.NewRecorder(), req.WithContext(request.WithRequestInfo(req.Context(), info)))
			if got != test.want {
				t.Errorf("fieldValidation is %q, want %q", got, test.want)
			}
		})
	}
}

func TestATerminatingServerSendsItsClientsElsewhere(t *testing.T) {
	terminating := make(chan struct{})
	handler := withFarewell(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }), terminating)
	answer := func() *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/apis", nil))
		return recorder
	}
	if early := answer(); early.Header().Get("Connection") != "" {
		t.Error("a client is sent away from a server that goes on")
	}
	close(terminating)
	if late := answer(); late.Code != http.StatusOK || late.Header().Get("Connection") != "close" {
		t.Errorf("want the answer, and the connection closed after it; got %d with %q", late.Code, late.Header().Get("Connection"))
	}
}
