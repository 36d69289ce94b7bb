// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// row is the row of a table with these first words, and its other words; it fails the test if there is none.
func (s *scenario) row(table string, first ...string) []string {
	s.Helper()
	for line := range strings.Lines(table) {
		if words := strings.Fields(line); len(words) >= len(first) && slices.Equal(words[:len(first)], first) {
			return words[len(first):]
		}
	}
	s.Errorf("no row %q in:\n%s", first, table)
	return nil
}

// history tells of an aborted revision when that was, who did it and why, as its ReplicaSet keeps it, and of what was
// called, as the server has attested it.
func TestHistoryTellsWhoAndWhy(t *testing.T) {
	s := together(t)
	s.releaser("hanna")
	r := s.pausedUpdate("told")
	_, err := s.kubectlAs("hanna", nil, "", "sluice", "abort", r.Name, "--reason=slow since noon")
	s.must(err)
	s.awaitPods(r, map[string]int{"one": 2})
	after := s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	printed := s.kubectl("sluice", "history", r.Name)
	s.row(printed, "1", "promoted", "(stable)")
	at := after.Status.AbortedAt.UTC().Format(time.RFC3339Nano)
	if got, want := s.row(printed, "2", "aborted", "(current)"), []string{at, "hanna", "slow", "since", "noon", image("two")}; !slices.Equal(got, want) {
		t.Errorf("the aborted revision is told of as %q instead of %q", got, want)
	}
	action := after.Status.Actions[0]
	if got, want := s.row(printed, action.Time.UTC().Format(time.RFC3339), "abort", "hanna"), []string{"1->0", "2", "done", "slow", "since", "noon"}; !slices.Equal(got, want) {
		t.Errorf("the abort is told of as %q instead of %q", got, want)
	}
	for _, set := range s.sets(r) {
		if notes := set.Annotations; cluster.Tag(&set.Spec.Template.Spec) == "two" && (notes[rollouts.OutcomeAnnotation] != rollouts.OutcomeAborted ||
			notes[rollouts.OutcomeUserAnnotation] != "hanna" || notes[rollouts.OutcomeReasonAnnotation] != "slow since noon" || notes[rollouts.OutcomeTimeAnnotation] != at) {
			t.Errorf("ReplicaSet %s is annotated with %v", set.Name, notes)
		}
	}
}

// meetingPoint is a way to the host that holds promotes until two are there.
func (s *scenario) meetingPoint() string {
	s.Helper()
	transport, err := rest.TransportFor(s.Config)
	s.must(err)
	host, err := url.Parse(s.Config.Host)
	s.must(err)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(host) }}
	var arrived atomic.Int32
	both := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/promote") {
			if arrived.Add(1) == 2 {
				close(both)
			}
			select {
			case <-both:
			case <-r.Context().Done():
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	s.Cleanup(server.Close)
	return server.URL
}

// Two people who have looked at the same step, and promote at the same time, move it one step: whoever is later is told so.
func TestTwoPeoplePromoteAtTheSameTime(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("raced")
	at := s.meetingPoint()
	outputs := make([]cluster.Output, 2)
	var people errgroup.Group
	for i := range outputs {
		people.Go(func() (err error) {
			outputs[i], err = s.Kubectl(s.ctx(), "", "sluice", "promote", r.Name, "--namespace="+s.namespace, "--server="+at)
			return err
		})
	}
	s.must(people.Wait())
	slices.SortFunc(outputs, func(a, b cluster.Output) int { return a.Code - b.Code })
	if first, second := outputs[0], outputs[1]; first.Code != 0 || second.Code != 1 {
		t.Errorf("the exit codes are %d and %d: %s%s", first.Code, second.Code, first.Stderr, second.Stderr)
	}
	s.contains(outputs[0].Stdout, "promoted to step 2/6")
	s.contains(outputs[1].Stderr, "the step is 2, not 1")
	if after := s.atPause(r.Name, 2); len(after.Status.Actions) != 1 {
		t.Errorf("the actions are %+v", after.Status.Actions)
	}
}

// What was reviewed is what is promoted: another revision or step is refused. A dry run stores nothing.
func TestPluginExpectsAndTries(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("reviewed")
	for command, words := range map[string]string{
		"promote --expect-revision=7":                 "the revision is 2, not 7",
		"promote --expect-step=0":                     "the step is 1, not 0",
		"promote --expect-step=1 --expect-revision=1": "the revision is 2, not 1",
		"abort --expect-revision=1":                   "the revision is 2, not 1",
		"pause --expect-step=2":                       "the step is 1, not 2",
	} {
		output := s.plugin(r.Name, command)
		if output.Code != 1 {
			t.Errorf("%s ends with %d", command, output.Code)
		}
		s.contains(output.Stderr, words)
	}
	for _, command := range []string{"promote", "promote --full", "abort", "pause", "restart --in=1h", "undo"} {
		output := s.plugin(r.Name, command+" --dry-run=server")
		s.must(output.Err())
		s.contains(output.Stdout, "(server dry run)")
	}
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion {
		t.Errorf("something was stored: %+v", after.Status.Actions)
	}
	s.kubectl("sluice", "promote", r.Name, "--expect-step=1", "--expect-revision=2", "--reason=reviewed")
	s.atPause(r.Name, 2)
}

// plugin runs a command of the plugin on a Rollout.
func (s *scenario) plugin(name, command string) cluster.Output {
	s.Helper()
	verb, flags, _ := strings.Cut(command, " ")
	return s.run("", append([]string{"sluice", verb, name}, strings.Fields(flags)...)...)
}

// A restart in a while replaces the pods then, and not before.
func TestPluginRestartsInAWhile(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("renewed", 2))
	before := s.podUIDs(r, "one")
	asked := time.Now()
	s.kubectl("sluice", "restart", r.Name, "--in=3s")
	r = s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Spec.RestartAt != nil && r.Spec.RestartAt.Equal(r.Status.RestartedAt), "all pods restarted")
	})
	if at := r.Spec.RestartAt.Time; at.Before(asked.Add(3*time.Second).Truncate(time.Second)) || time.Now().Before(at) {
		t.Errorf("asked at %s to restart in 3s, it is at %s and over at %s", asked, at, time.Now())
	}
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	// None of two may be missing, so there is a third while they are replaced.
	s.until(time.Minute, "the spare pod is gone", func(ctx context.Context) string {
		sets, err := s.Host.AppsV1().ReplicaSets(s.namespace).List(ctx, metav1.ListOptions{})
		s.must(err)
		rs := sets.Items[0]
		return unless(*rs.Spec.Replicas == 2 && rs.Status.ObservedGeneration == rs.Generation && rs.Status.Replicas == 2 && len(s.podUIDs(r, "one")) == 2, "two pods")
	})
	after := s.podUIDs(r, "one")
	for uid := range before {
		if after[uid] {
			t.Errorf("pod %s is still there", uid)
		}
	}
	s.kubectl("sluice", "restart", r.Name, "--in=1h")
	later := s.observed(r.Name)
	if in := time.Until(later.Spec.RestartAt.Time); in < 50*time.Minute || in > time.Hour+time.Second {
		t.Errorf("asked to restart in 1h, it is in %s", in)
	}
	s.sameUIDs(r, "one", after)
}
