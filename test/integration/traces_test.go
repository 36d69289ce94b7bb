// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracing "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// traceCollector takes spans, as a collector of OpenTelemetry does.
type traceCollector struct {
	collector.UnimplementedTraceServiceServer
	mu sync.Mutex
	// spans are all so far, by their identity.
	spans    map[string]*tracing.Span
	services map[string]bool
}

// Export is how spans are sent.
func (c *traceCollector) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		c.services[attribute(resource.Resource.Attributes, "service.name")] = true
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans[hex.EncodeToString(span.SpanId)] = span
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// collect runs a collector until the end of the test, and returns where it listens.
func collect(t *testing.T) (*traceCollector, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &traceCollector{spans: map[string]*tracing.Span{}, services: map[string]bool{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return c, listener.Addr().String()
}

func attribute(all []*common.KeyValue, key string) string {
	for _, a := range all {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// way is the names of the spans that lead from the outermost to one, and that outermost one.
func (c *traceCollector) way(span *tracing.Span) (names []string, outermost *tracing.Span) {
	for span != nil {
		names, outermost = append([]string{span.Name}, names...), span
		span = c.spans[hex.EncodeToString(span.ParentSpanId)]
	}
	return names, outermost
}

// hostWrites are the ways to writes of ReplicaSets by a method, from the spans without a parent.
func (c *traceCollector) hostWrites(method string) (ways []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		target := attribute(span.Attributes, "url.full")
		if span.Kind != tracing.Span_SPAN_KIND_CLIENT || !strings.Contains(target, "/replicasets") || !strings.HasSuffix(span.Name, method) {
			continue
		}
		names, outermost := c.way(span)
		if len(outermost.ParentSpanId) == 0 {
			ways = append(ways, strings.Join(names, " > "))
		}
	}
	return ways
}

// A promote is one trace: the request, the decision that follows from it, and the write of a ReplicaSet. So is a
// change of the template.
func TestAPromoteIsOneTrace(t *testing.T) {
	c, address := collect(t)
	config := filepath.Join(t.TempDir(), "tracing.yaml")
	content := fmt.Sprintf("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: %s\nsamplingRatePerMillion: 1000000\n", address)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startProcess(t, "--tracing-config-file="+config)
	client := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	if _, err := client.Create(t.Context(), newRollout("traced", weight(50), pause()), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "traced", "Healthy", healthy)
	if _, err := client.Patch(t.Context(), "traced", types.JSONPatchType, imagePatch("app:green"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "traced", "paused", paused)
	if _, err := client.Promote(t.Context(), "traced", &v1alpha1.Promotion{}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "traced", "Healthy", healthy)

	const rollouts = "/rollouts"
	for _, want := range []struct{ method, request string }{
		{"POST", "POST /apis/sluice.dev/v1alpha1/namespaces/{:namespace}" + rollouts},
		{"POST", "PATCH /apis/sluice.dev/v1alpha1/namespaces/{:namespace}" + rollouts + "/{:name}"},
		{"PATCH", "POST /apis/sluice.dev/v1alpha1/namespaces/{:namespace}" + rollouts + "/{:name}/promote"},
	} {
		// Spans are sent every few seconds.
		err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
			for _, way := range c.hostWrites(want.method) {
				_, after, found := strings.Cut(way, " > "+want.request+" > ")
				if found && strings.HasSuffix(after, " > Decide > HTTP "+want.method) {
					t.Log(way)
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			t.Errorf("no way leads from %s by a decision to a %s of a ReplicaSet; there are %q", want.request, want.method, c.hostWrites(want.method))
		}
	}
	c.decisionsAreTold(t)
}

// decisionsAreTold checks what spans of decisions say, that later ones have a link, and that the renewal of the Lease
// makes no traces.
func (c *traceCollector) decisionsAreTold(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.services) != 1 || !c.services["sluice-apiserver"] {
		t.Errorf("the spans are of %v", c.services)
	}
	children, linked := 0, 0
	for _, span := range c.spans {
		if strings.Contains(attribute(span.Attributes, "url.full"), "/leases/") {
			t.Errorf("a request for the Lease has the span %s", span.Name)
		}
		if span.Name != "Decide" {
			continue
		}
		if attribute(span.Attributes, "rollout.name") != "traced" || attribute(span.Attributes, "rollout.why") == "" {
			t.Errorf("a decision says %v", span.Attributes)
		}
		switch {
		case len(span.ParentSpanId) > 0:
			children++
		case len(span.Links) == 1:
			linked++
		default:
			t.Errorf("a decision has neither a parent nor a link: %v", span)
		}
	}
	if children != 3 || linked == 0 {
		t.Errorf("%d decisions are part of the trace of a request, want 3, and %d have a link to one", children, linked)
	}
}
