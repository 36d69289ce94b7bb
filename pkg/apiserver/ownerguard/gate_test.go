// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestGateRefusesEveryRequestForAResourceUntilItIsOpen(t *testing.T) {
	const answered = http.StatusTeapot
	for _, tc := range []struct {
		path   string
		guards bool
	}{
		{"/apis/sluice.dev/v1alpha1/rollouts", true},
		{"/apis/sluice.dev/v1alpha1/rollouts?watch=1", true},
		{"/apis/sluice.dev/v1alpha1/watch/rollouts", true},
		{"/apis/sluice.dev/v1alpha1/namespaces/default/rollouts", true},
		{"/apis/sluice.dev/v1alpha1/namespaces/default/rollouts/web", true},
		{"/apis/sluice.dev/v1alpha1/namespaces/default/rollouts/web/promote", true},
		{"/apis/sluice.dev/v9/anything", true},
		{"//apis/sluice.dev//v1alpha1/rollouts", true},
		{"/apis", false},
		{"/apis/sluice.dev", false},
		{"/apis/sluice.dev/", false},
		{"/apis/sluice.dev/v1alpha1", false},
		{"/apis/sluice.dev/v1alpha1/", false},
		{"/apis/other.dev/v1/rollouts/web", false},
		{"/openapi/v2", false},
		{"/openapi/v3/apis/sluice.dev/v1alpha1", false},
		{"/healthz", false},
		{"/livez", false},
		{"/readyz", false},
		{"/version", false},
		{"/metrics", false},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			gate := NewGate("sluice.dev")
			handler := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answered) }))
			code := func() int {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest(method, "http://host"+tc.path, nil))
				return w.Code
			}
			want := answered
			if tc.guards {
				want = http.StatusServiceUnavailable
			}
			if got := code(); got != want {
				t.Errorf("closed, %s %s: want %d, got %d", method, tc.path, want, got)
			}
			gate.Open()
			if got := code(); got != answered {
				t.Errorf("open, %s %s: want %d, got %d", method, tc.path, answered, got)
			}
			gate.Close("closed again")
			if got := code(); got != want {
				t.Errorf("closed again, %s %s: want %d, got %d", method, tc.path, want, got)
			}
		}
	}
}

func TestARefusalIsAStatusThatClientsUnderstand(t *testing.T) {
	gate := NewGate("sluice.dev")
	gate.Close("missing Rollouts: default/web")
	w := httptest.NewRecorder()
	gate.Wrap(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/apis/sluice.dev/v1alpha1/rollouts", nil))
	var status metav1.Status
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
		t.Fatal(err)
	}
	if status.Kind != "Status" || status.APIVersion != "v1" || status.Status != metav1.StatusFailure ||
		status.Code != 503 || status.Reason != metav1.StatusReasonServiceUnavailable || status.Message != "missing Rollouts: default/web" {
		t.Errorf("got %+v", status)
	}
	if w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got headers %v", w.Header())
	}
}

func TestClosingTheGateEndsWatches(t *testing.T) {
	gate := NewGate("sluice.dev")
	gate.Open()
	watching, ended := make(chan struct{}), make(chan error, 1)
	handler := gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(watching)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}))
	go handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/apis/sluice.dev/v1alpha1/rollouts?watch=1", nil))
	<-watching
	gate.Close("another store")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "another store") {
		t.Errorf("want the watch ended by the gate, got %v", err)
	}
}

func TestReadinessFollowsTheGate(t *testing.T) {
	gate := NewGate("sluice.dev")
	if err := gate.Check(nil); err == nil {
		t.Error("want it closed at the start")
	}
	gate.Open()
	if err := gate.Check(nil); err != nil {
		t.Error(err)
	}
	gate.Close("held")
	if err := gate.Check(nil); err == nil || err.Error() != "held" {
		t.Errorf("want the message, got %v", err)
	}
}

func TestWaitOpenLastsAsLongAsTheGateIsOpen(t *testing.T) {
	gate := NewGate("sluice.dev")
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := gate.WaitOpen(short); err == nil {
		t.Error("want an error while the gate is closed")
	}
	for range 2 {
		go gate.Open()
		ctx, err := gate.WaitOpen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		gate.Close("held")
		<-ctx.Done()
	}
}

func TestAnAnswerThatIsInterruptedByClosingIsARefusal(t *testing.T) {
	for _, tc := range []struct {
		name string
		// answer is what the handler makes of its interruption.
		answer func(http.ResponseWriter)
		code   int
		says   string
	}{
		{"a time-out", func(w http.ResponseWriter) { http.Error(w, "did not complete", http.StatusGatewayTimeout) }, http.StatusServiceUnavailable, "no quorum"},
		{"an internal error", func(w http.ResponseWriter) { http.Error(w, "context canceled", http.StatusInternalServerError) }, http.StatusServiceUnavailable, "no quorum"},
		{"an answer that was ready", func(w http.ResponseWriter) { _, _ = w.Write([]byte("here it is")) }, http.StatusOK, "here it is"},
		{"another refusal", func(w http.ResponseWriter) { http.Error(w, "conflict", http.StatusConflict) }, http.StatusConflict, "conflict"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewGate("sluice.dev")
			g.Open()
			handler := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				g.Close("no quorum")
				<-r.Context().Done()
				tc.answer(w)
			}))
			got := httptest.NewRecorder()
			handler.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/apis/sluice.dev/v1alpha1/rollouts", nil))
			if got.Code != tc.code || !strings.Contains(got.Body.String(), tc.says) || strings.Contains(got.Body.String(), "context canceled") {
				t.Errorf("want %d saying %q, got %d: %s", tc.code, tc.says, got.Code, got.Body)
			}
			if retry := got.Header().Get("Retry-After"); (retry != "") != (tc.code == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After is %q", retry)
			}
		})
	}
}
