// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// stream is what a command prints while it runs.
type stream struct {
	*scenario
	command string
	lines   chan string
	read    []string
}

// stream runs kubectl in the namespace of the test until the end of the test.
func (s *scenario) stream(args ...string) *stream {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	cmd := s.KubectlCommand(ctx, append(args, "--namespace="+s.namespace)...)
	// Pipes of a command that is killed must not hold up the test.
	cmd.WaitDelay = time.Second
	stdout, err := cmd.StdoutPipe()
	s.must(err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	s.must(cmd.Start())
	output := &stream{scenario: s, command: strings.Join(args, " "), lines: make(chan string, 10_000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(output.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			output.lines <- scanner.Text()
		}
	}()
	s.Cleanup(func() {
		cancel()
		<-read
		_ = cmd.Wait() // It was killed.
		if s.Failed() {
			s.Logf("kubectl %s complained: %s", output.command, stderr.String())
		}
	})
	return output
}

// awaitLine reads on until a line contains the word.
func (o *stream) awaitLine(word string) {
	o.Helper()
	timeout := time.After(limit)
	for {
		select {
		case line, open := <-o.lines:
			if !open {
				o.Fatalf("kubectl %s has ended without %q:\n%s", o.command, word, strings.Join(o.read, "\n"))
			}
			if o.read = append(o.read, line); strings.Contains(line, word) {
				return
			}
		case <-timeout:
			o.Fatalf("kubectl %s prints no %q:\n%s", o.command, word, strings.Join(o.read, "\n"))
		}
	}
}

// recorder is a way to the API server on which requests are noted. Who asks is said by impersonation.
type recorder struct {
	url string

	mu       sync.Mutex
	requests []string
}

func (s *scenario) recorder() *recorder {
	s.Helper()
	host, err := url.Parse(s.Config.Host)
	s.must(err)
	transport, err := rest.TransportFor(s.Config)
	s.must(err)
	r := &recorder{}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(host) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		what := "list"
		if request.URL.Query().Get("watch") != "" {
			what = "watch"
		}
		r.requests = append(r.requests, fmt.Sprintf("%s %s %s %s", request.Method, what, request.URL.Path, request.URL.Query().Get("fieldSelector")))
		r.mu.Unlock()
		proxy.ServeHTTP(w, request)
	}))
	s.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	r.url = server.URL
	return r
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// byHost are the requests in the audit log that the controllers of the host have sent, as "watch rollouts".
func (l auditLog) byHost(s *scenario) []string {
	s.Helper()
	var requests []string
	for _, event := range l.events(s) {
		user := event.User.Username
		if event.ObjectRef != nil && (user == "system:kube-controller-manager" || strings.HasPrefix(user, "system:serviceaccount:kube-system:")) {
			requests = append(requests, event.Verb+" "+event.ObjectRef.Resource)
		}
	}
	return requests
}

// The plugin follows a Rollout with one watch of its tree, by the rights of a viewer, who has none on ReplicaSets and
// pods.
func TestPluginFollowsATreeAsAViewer(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("viewed")
	s.drawn(r.Name, 2)
	viewer := s.user("vera", "sluice-viewer")
	s.oncePermitted(func() error { _, err := viewer.trees().Get(s.ctx(), r.Name, metav1.GetOptions{}); return err })
	for _, object := range []string{"replicasets", "pods"} {
		if output := s.run("", "get", object, "--as=vera"); output.Code == 0 || !strings.Contains(output.Stderr, "forbidden") {
			t.Errorf("the viewer may list %s: %s%s", object, output.Stdout, output.Stderr)
		}
	}
	recorder := s.recorder()
	output := s.stream("sluice", "get", "rollout", r.Name, "--watch", "--as=vera", "--server="+recorder.url)
	output.awaitLine("canary")
	output.awaitLine("□ ")
	s.must(s.call(http.MethodPost, r.Name, "promote", "{}").err)
	output.awaitLine("2/6")
	output.awaitLine("□ ")

	path := "/apis/sluice.dev/v1alpha1/namespaces/" + s.namespace + "/rollouttrees metadata.name=" + r.Name
	if got, want := recorder.seen(), []string{"GET list " + path, "GET watch " + path}; !slices.Equal(got, want) {
		t.Errorf("the plugin asked for\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
