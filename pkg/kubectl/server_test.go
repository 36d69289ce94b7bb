// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sluice.dev/sluice/pkg/version"
)

// serve answers every request in the same way and counts them.
func serve(t *testing.T, code int, header http.Header, body string) (url string, requests *int) {
	t.Helper()
	requests = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*requests++
		for key, values := range header {
			w.Header()[key] = values
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

// process runs the plugin as a process would, with an empty kubeconfig.
func process(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	streams, _, o, e := genericiooptions.NewTestIOStreams()
	code = Main(args, streams)
	return code, o.String(), e.String()
}

func TestAnswersOfServers(t *testing.T) {
	asJSON := http.Header{"Content-Type": {"application/json"}}
	tests := []struct {
		rule   string
		code   int
		header http.Header
		body   string
		errOut string
	}{
		{
			"a refusal of a verb", 409, asJSON,
			`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,"message":"cannot promote rollout \"demo\": no update is in flight",
			  "details":{"group":"sluice.dev","kind":"rollouts","name":"demo","causes":[{"reason":"NothingInFlight","message":"no update is in flight"}]}}`,
			"Error from server (Conflict): cannot promote rollout \"demo\": no update is in flight\n  cause: NothingInFlight\n",
		},
		{
			"nobody serves the group", 404, nil, "404 page not found",
			"error: this cluster does not serve rollouts.sluice.dev\nIs Sluice installed? 'kubectl get apiservice v1alpha1.sluice.dev' tells.\n",
		},
		{
			"the server of Sluice is down", 503, nil, "service unavailable",
			"The answer was lost (the server is currently unable to handle the request (post rollouts.sluice.dev demo)). Asking again, with the same requestID.\n" +
				"Error from server (ServiceUnavailable): the server is currently unable to handle the request (post rollouts.sluice.dev demo)\n" +
				"'kubectl describe apiservice v1alpha1.sluice.dev' tells whether the server of Sluice is there.\n",
		},
		{
			"the server of Sluice is there and says why it does not answer", 503, asJSON,
			`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","code":503,"message":"the store misses Rollouts: shop/demo"}`,
			"Error from server (ServiceUnavailable): the store misses Rollouts: shop/demo\n",
		},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			url, _ := serve(t, test.code, test.header, test.body)
			code, out, errOut := process(t, "kubectl-sluice", "abort", "demo", "--server", url)
			if code != 1 || out != "" || errOut != test.errOut {
				t.Errorf("exit code %d, %q, on stderr\n%s\nwant\n%s", code, out, errOut, test.errOut)
			}
		})
	}
}

func TestACutConnectionIsNoSecondPromote(t *testing.T) {
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"kind":"Rollout","apiVersion":"sluice.dev/v1alpha1","metadata":{"name":"demo","uid":"u"},"status":{"revision":4,"currentPodHash":"h","currentStepIndex":1}}`)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if bodies = append(bodies, string(body)); len(bodies) == 1 {
			panic(http.ErrAbortHandler) // It was done, and then the connection broke.
		}
		fmt.Fprint(w, `{"kind":"Promotion","apiVersion":"sluice.dev/v1alpha1","status":{"message":"promoted to step 2/3"}}`)
	}))
	defer server.Close()
	code, out, errOut := process(t, "kubectl-sluice", "promote", "demo", "--server", server.URL)
	if code != 0 || out != "rollout.sluice.dev/demo promoted to step 2/3\n" || !strings.HasPrefix(errOut, "The answer was lost (") {
		t.Errorf("exit code %d, %q, %s", code, out, errOut)
	}
	if len(bodies) != 2 || bodies[0] != bodies[1] || len(bodies[0]) == 0 {
		t.Errorf("the second call is to be the same as the first: %q", bodies)
	}
}

func TestNobodyListens(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	code, _, errOut := process(t, "kubectl-sluice", "abort", "demo", "--server", server.URL)
	if code != 1 || !strings.HasPrefix(errOut, "Unable to connect to the server: ") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestASlowRequestIsNotTheEndOfTheTime(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	for _, line := range []string{"status demo --timeout 1h", "get rollout demo --watch --timeout 1h", "detach demo --timeout 1h"} {
		args := append([]string{"kubectl-sluice", "--server", server.URL, "--request-timeout", "50ms"}, strings.Fields(line)...)
		if code, _, errOut := process(t, args...); code != 1 || !strings.HasPrefix(errOut, "Unable to connect to the server: ") {
			t.Errorf("%s: exit code %d, %s", line, code, errOut)
		}
	}
}

func TestDetachDoesNotWaitForAServerThatAsksForPatience(t *testing.T) {
	url, requests := serve(t, 503, http.Header{"Retry-After": {"1"}}, "later")
	code, _, errOut := process(t, "kubectl-sluice", "detach", "--all", "--timeout", "100ms", "--server", url)
	if code != 1 || !strings.HasPrefix(errOut, "The server of Sluice does not answer") || *requests < 2 {
		t.Errorf("exit code %d after %d requests: %s", code, *requests, errOut)
	}
}

func TestVersion(t *testing.T) {
	built := version.Version
	defer func() { version.Version = built }()
	version.Version = "v1.2.3"
	mux := http.NewServeMux()
	reply := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if agent := r.UserAgent(); !strings.HasPrefix(agent, "kubectl-sluice/v1.2.3 ") {
				t.Errorf("the audit log is to say who asked, not %q", agent)
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body)
		})
	}
	reply("/version", `{"gitVersion":"v1.37.2"}`)
	reply("/api", `{"kind":"APIVersions","versions":["v1"]}`)
	reply("/apis", `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"sluice.dev","versions":[{"groupVersion":"sluice.dev/v1alpha1","version":"v1alpha1"}]}]}`)
	server := httptest.NewServer(mux)
	defer server.Close()
	code, out, errOut := process(t, "kubectl-sluice", "version", "--server", server.URL)
	if code != 0 || out != "Client:      v1.2.3\nServer API:  sluice.dev/v1alpha1\nKubernetes:  v1.37.2\n" {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

func TestVersionWithoutSluice(t *testing.T) {
	mux := http.NewServeMux()
	for path, body := range map[string]string{"/version": `{"gitVersion":"v1.37.2"}`, "/api": `{"versions":["v1"]}`, "/apis": `{"groups":[]}`} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	code, out, errOut := process(t, "kubectl-sluice", "version", "--server", server.URL)
	if code != 1 || !strings.HasSuffix(out, "Kubernetes:  v1.37.2\n") || !strings.Contains(errOut, "is Sluice installed?") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

func TestCompletion(t *testing.T) {
	tests := []struct {
		rule, line, want string
	}{
		{"names of Rollouts", "__complete promote ", "api\ndemo\n:4"},
		{"nothing after the name", "__complete promote demo ", ":4"},
		{"containers after the name", "__complete set image demo ", "prepare=\napp=\nproxy=\n:6"},
		{"a flag that takes a name", "__complete list rollouts --name ", "api\ndemo\n:4"},
		{"names in the kubeconfig", "__complete promote demo --context ", "east\nwest\n:4"},
		{"subcommands", "__complete ret", "retry\tStart an aborted update again\n:4"},
		{"names, for every command that takes one", "__complete explain ", "api\ndemo\n:4"},
		{"revisions to go back to", "__complete undo demo --to-revision ", "1\n:4"},
		{"dry runs", "__complete pause demo --dry-run ", "none\nserver\n:4"},
	}
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, []byte("contexts: [{name: west, context: {cluster: w}}, {name: east, context: {cluster: e}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			api := demo()
			api.Name = "api"
			b := newBench(demo(), api, replicaSetOf(demo(), "old"))
			args := strings.Split(test.line, " ")
			if code := b.run(t.Context(), genericclioptions.NewConfigFlags(false), args); code != 0 || strings.TrimSpace(b.out.String()) != test.want {
				t.Errorf("exit code %d, offered %q, want %q", code, b.out, test.want)
			}
		})
	}
}

func TestKubectlCompletesThroughALink(t *testing.T) {
	code, out, _ := process(t, filepath.Join("bin", "kubectl_complete-sluice"), "abo")
	if code != 0 || !strings.HasPrefix(out, "abort\t") {
		t.Errorf("exit code %d, offered %q", code, out)
	}
}

func TestCompletionScriptsAreForTheBinary(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, errOut := process(t, "kubectl-sluice", "completion", shell)
		if code != 0 || !strings.Contains(out, "kubectl-sluice") {
			t.Errorf("%s: exit code %d: %s", shell, code, errOut)
		}
	}
}
