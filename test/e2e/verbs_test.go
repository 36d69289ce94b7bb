// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// pausedUpdate deploys a Rollout of two pods and updates it to an indefinite pause at step 1 of 6.
func (s *scenario) pausedUpdate(name string) *v1alpha1.Rollout {
	s.Helper()
	r := s.deploy(newRollout(name, 2, weight(50), pause(), pause(), pause(), pause(), weight(100)))
	s.setTag(r.Name, "two")
	return s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 50, Pods: map[string]int{"one": 1, "two": 1}})
}

// verbPath is the path of a verb in the API.
func (s *scenario) verbPath(name, verb string) string {
	return "/apis/sluice.dev/v1alpha1/namespaces/" + s.namespace + "/rollouts/" + name + "/" + verb
}

// atPause waits until the Rollout waits in the pause of this step.
func (s *scenario) atPause(name string, step int32) *v1alpha1.Rollout {
	s.Helper()
	return s.await(name, func(r *v1alpha1.Rollout) string {
		if at := ptr.Deref(r.Status.CurrentStepIndex, -1); r.Status.Phase != v1alpha1.RolloutPhasePaused || at != step {
			return fmt.Sprintf("wanted is the pause of step %d; it is %s at step %d", step, r.Status.Phase, at)
		}
		// Until then a promote is refused.
		return unless(r.Status.ObservedGeneration == r.Generation, "the last change of the spec to be observed")
	})
}

// Two promotes sent back to back move two steps: none is swallowed, and none skips a step.
func TestTwoPromotesInARow(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("twice")
	for want := int32(2); want <= 3; want++ {
		reply, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
		s.must(err)
		if got := ptr.Deref(reply.Status.CurrentStepIndex, -1); got != want {
			t.Errorf("the reply shows step %d instead of %d", got, want)
		}
	}
	s.atPause(r.Name, 3)
}

// Of many promotes at once that expect the same state, exactly one succeeds.
func TestPromotesThatExpectTheSameState(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("contested")
	var mu sync.Mutex
	succeeded := 0
	var promotes sync.WaitGroup
	for range 50 {
		promotes.Go(func() {
			_, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{ObjectMeta: metav1.ObjectMeta{ResourceVersion: r.ResourceVersion}}, metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				succeeded++
				return
			}
			status := s.refused(err, http.StatusConflict)
			if len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != "PreconditionFailed" || status.Details.Causes[0].Field != "metadata.resourceVersion" {
				t.Errorf("the refusal does not name the precondition: %+v", status)
			}
		})
	}
	promotes.Wait()
	if succeeded != 1 {
		t.Errorf("%d of 50 promotes succeeded", succeeded)
	}
	s.atPause(r.Name, 2)
}

// Without a precondition every success is one step: as many as the index moves.
func TestPromotesAtOnceMoveOneStepEach(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("crowded")
	var mu sync.Mutex
	var replies []int32
	var promotes sync.WaitGroup
	for range 20 {
		promotes.Go(func() {
			reply, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				replies = append(replies, ptr.Deref(reply.Status.CurrentStepIndex, -1))
				return
			}
			s.refused(err, http.StatusConflict)
		})
	}
	promotes.Wait()
	seen := map[int32]bool{}
	for _, step := range replies {
		if seen[step] || step < 2 || step > 6 {
			t.Errorf("the replies show the steps %v: each must be another one, from 2 to 6", replies)
		}
		seen[step] = true
	}
	if len(replies) == 0 {
		t.Error("none of 20 promotes succeeded")
	}
}

// release lets go of a Rollout that a finalizer of the test holds.
func (s *scenario) release(name string) {
	_, err := s.rollouts().Patch(context.WithoutCancel(s.Context()), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil {
		s.Error(err)
	}
}

func unless(is bool, what string) string {
	if is {
		return ""
	}
	return "wanted is: " + what
}

// perform calls a verb by POST.
func (s *scenario) perform(name, verb string) error {
	var err error
	switch verb {
	case "promote", "promote full":
		_, err = s.rollouts().Promote(s.ctx(), name, &v1alpha1.Promotion{Full: verb == "promote full"}, metav1.CreateOptions{})
	case "abort":
		_, err = s.rollouts().Abort(s.ctx(), name, &v1alpha1.Abort{}, metav1.CreateOptions{})
	case "retry":
		_, err = s.rollouts().Retry(s.ctx(), name, &v1alpha1.Retry{}, metav1.CreateOptions{})
	}
	return err
}

// A dry run of a verb gives the full answer and stores nothing.
func TestDryRunOfVerbs(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("dry")
	dry := []string{metav1.DryRunAll}
	promoted, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{DryRun: dry})
	s.must(err)
	if got := ptr.Deref(promoted.Status.CurrentStepIndex, -1); got != 2 {
		t.Errorf("the dry run of a promote shows step %d instead of 2", got)
	}
	aborted, err := s.rollouts().Abort(s.ctx(), r.Name, &v1alpha1.Abort{}, metav1.CreateOptions{DryRun: dry})
	s.must(err)
	if aborted.Status.Phase != v1alpha1.RolloutPhaseDegraded {
		t.Errorf("the dry run of an abort shows %s", aborted.Status.Phase)
	}
	_, err = s.rollouts().Retry(s.ctx(), r.Name, &v1alpha1.Retry{}, metav1.CreateOptions{DryRun: dry})
	s.refused(err, http.StatusConflict)
	s.kubectl("patch", resource, r.Name, "--subresource=promote", "--type=merge", "-p", `{"full":true}`, "--dry-run=server")
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion {
		t.Errorf("a dry run was stored: %+v", after.Status)
	}
}

// A verb can be called in every way that a client may have.
func TestWaysToCallAVerb(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("ways", 1, pause(), pause(), pause(), pause(), pause(), pause(), pause(), pause(), pause()))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 0)
	client, path := s.Sluice.SluiceV1alpha1().RESTClient(), s.verbPath(r.Name, "promote")
	ways := []struct {
		name string
		call func() error
	}{
		{"POST of {} as JSON", func() error {
			return client.Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte("{}")).Do(s.ctx()).Error()
		}},
		{"PUT of what a GET answered", func() error {
			body, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(s.ctx())
			if err != nil {
				return err
			}
			var state v1alpha1.Promotion
			if err := json.Unmarshal(body, &state); err != nil {
				return err
			}
			if state.Name != r.Name || state.Namespace != s.namespace || state.UID != r.UID || state.Status.Phase != v1alpha1.RolloutPhasePaused {
				t.Errorf("GET does not tell the state: %s", body)
			}
			return client.Put().AbsPath(path).SetHeader("Content-Type", "application/json").Body(body).Do(s.ctx()).Error()
		}},
		{"PATCH of nothing by kubectl", func() error {
			return s.run("", "patch", resource, r.Name, "--subresource=promote", "--type=merge", "-p", "{}").Err()
		}},
		{"POST by kubectl create --raw", func() error { return s.run("{}", "create", "--raw", path, "-f", "-").Err() }},
		{"PUT by kubectl replace --raw", func() error {
			return s.run(`{"metadata":{"name":"ways"}}`, "replace", "--raw", path, "-f", "-").Err()
		}},
		{"PUT by kubectl replace --raw of what get --raw answered", func() error {
			return s.run(s.kubectl("get", "--raw", path), "replace", "--raw", path, "-f", "-").Err()
		}},
		{"the plugin", func() error { return s.run("", "sluice", "promote", r.Name).Err() }},
		{"JSON patch", func() error {
			return client.Patch(types.JSONPatchType).AbsPath(path).Body([]byte(`[{"op":"replace","path":"/full","value":false}]`)).Do(s.ctx()).Error()
		}},
	}
	for i, way := range ways {
		s.atPause(r.Name, int32(i))
		if err := way.call(); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		after := s.get(r.Name)
		if step := ptr.Deref(after.Status.CurrentStepIndex, -1); step != int32(i)+1 {
			t.Fatalf("%s: it is at step %d instead of %d", way.name, step, i+1)
		}
		if after.Generation != 2 {
			t.Fatalf("%s: a promote changed the spec: generation %d", way.name, after.Generation)
		}
	}
	s.atPause(r.Name, int32(len(ways)))
	s.readEveryWay(r.Name)
}

// readEveryWay reads the state that each verb would act on, with stock kubectl, as a table and as it is; nothing is
// performed by that.
func (s *scenario) readEveryWay(name string) {
	s.Helper()
	before := s.get(name)
	for _, verb := range verbNames {
		table := strings.Split(s.kubectl("get", resource, name, "--subresource="+verb), "\n")
		if got := strings.Fields(table[0]); !slices.Equal(got, []string{"NAME", "STATUS", "STEP", "REVISION", "MESSAGE"}) {
			s.Errorf("the columns of %s are %v", verb, got)
		}
		s.contains(table[1], name, string(before.Status.Phase))
		var read struct {
			Kind     string              `json:"kind"`
			Metadata metav1.ObjectMeta   `json:"metadata"`
			Status   v1alpha1.VerbStatus `json:"status"`
		}
		s.must(json.Unmarshal([]byte(s.kubectl("get", "--raw", s.verbPath(name, verb))), &read))
		if read.Kind != kinds[verb].kind || read.Metadata.UID != before.UID || read.Status.Revision != before.Status.Revision || !ptr.Equal(read.Status.CurrentStepIndex, before.Status.CurrentStepIndex) || read.Status.Action != nil {
			s.Errorf("get --raw of %s answers %+v", verb, read)
		}
	}
	s.unchanged(before)
}

// The body names the Rollout that it is for; another name is a mistake, and there is nothing to apply.
func TestBodiesThatAVerbRefuses(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("strict")
	client, path := s.Sluice.SluiceV1alpha1().RESTClient(), s.verbPath(r.Name, "promote")
	post := func(body string) error {
		return client.Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(s.ctx()).Error()
	}
	s.refused(post(`{"metadata":{"name":"another"}}`), http.StatusBadRequest, "another")
	s.refused(post(`{"fulll":true}`), http.StatusBadRequest, "fulll")
	s.refused(post(`{"kind":"Abort","apiVersion":"sluice.dev/v1alpha1"}`), http.StatusBadRequest)
	s.refused(post(`{"metadata":{"uid":"00000000-0000-0000-0000-000000000000"}}`), http.StatusConflict, "uid")
	_, err := s.rollouts().Promote(s.ctx(), "nobody", &v1alpha1.Promotion{}, metav1.CreateOptions{})
	s.refused(err, http.StatusNotFound, "nobody")
	for _, verb := range []string{"promote", "abort", "retry"} {
		kind := map[string]string{"promote": "Promotion", "abort": "Abort", "retry": "Retry"}[verb]
		body := fmt.Sprintf(`{"apiVersion":"sluice.dev/v1alpha1","kind":%q,"metadata":{"name":%q}}`, kind, r.Name)
		err := client.Patch(types.ApplyPatchType).AbsPath(s.verbPath(r.Name, verb)).Param("fieldManager", "e2e").Body([]byte(body)).Do(s.ctx()).Error()
		s.refused(err, http.StatusBadRequest, verb, "verb")
	}
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion {
		t.Errorf("a refused body changed something: %+v", after.Status)
	}
}

// Abort acts while paused by hand, and moves the pods at once.
func TestAbortWhilePausedByHand(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("held")
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Paused = true })
	_, err := s.rollouts().Abort(s.ctx(), r.Name, &v1alpha1.Abort{}, metav1.CreateOptions{})
	s.must(err)
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{"one": 2}})
}

// isNotObserved says whether a verb was refused because the last change of the spec is not observed yet.
func isNotObserved(err error) bool {
	status := statusOf(err)
	return status != nil && status.Details != nil && len(status.Details.Causes) == 1 && status.Details.Causes[0].Type == "NotObserved"
}
