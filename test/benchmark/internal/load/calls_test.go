// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// fakeHost answers every version with a version, and fails the first namespaces that are asked for.
type fakeHost struct {
	mu      sync.Mutex
	failing int
	remotes map[string]bool
}

func (h *fakeHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remotes[r.RemoteAddr] = true
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") && h.failing > 0 {
		h.failing--
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprint(w, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"any"}}`)
}

func TestCalls(t *testing.T) {
	host := &fakeHost{failing: 3, remotes: map[string]bool{}}
	server := httptest.NewServer(host)
	defer server.Close()
	clients, err := NewClients(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	all, err := clients.newCallers(4)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[int]bool{}
	get := func(ctx context.Context, client *Clients, i int) error {
		mu.Lock()
		seen[i] = true
		mu.Unlock()
		_, err := client.host.CoreV1().Namespaces().Get(ctx, "any", metav1.GetOptions{})
		return err
	}
	calls, err := all.call(t.Context(), 10, get)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 10 || len(calls.Each) != 10 || calls.PerSecond() <= 0 {
		t.Errorf("calls %v, times %v, %v per second", seen, calls.Each, calls.PerSecond())
	}
	// The client itself has tried again, and would have told nobody.
	if calls.Failures != 3 {
		t.Errorf("%d failures of the server were counted, not 3", calls.Failures)
	}
	if len(host.remotes) < 4 {
		t.Errorf("4 clients have %d connections", len(host.remotes))
	}
	wrong := errors.New("refused")
	if _, err := all.call(t.Context(), 10, func(context.Context, *Clients, int) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("a call that fails ends it, not with %v", err)
	}
}
