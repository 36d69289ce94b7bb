// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/argocd"
)

// appearance is how a Rollout looks to other systems.
type appearance struct{ argo, kstatus string }

// stands computes it with what those systems use.
func (s *scenario) stands(object *unstructured.Unstructured) appearance {
	s.Helper()
	health, err := argocd.Scripts{Root: s.Repository()}.Health(object)
	s.must(err)
	result, err := status.Compute(object)
	s.must(err)
	return appearance{argo: health.Status, kstatus: string(result.Status)}
}

// untyped is the Rollout as systems that do not know the kind read it.
func (s *scenario) untyped(name string) *unstructured.Unstructured {
	s.Helper()
	object, err := s.Dynamic.Resource(rolloutsResource).Namespace(s.namespace).Get(s.ctx(), name, metav1.GetOptions{})
	s.must(err)
	return object
}

// Every row of the table of docs/ecosystem.md is how real Rollouts look to Argo CD, and to those that use kstatus.
func TestEveryStateAsOtherSystemsSeeIt(t *testing.T) {
	s := together(t)
	table := s.table("docs/ecosystem.md", "state", "Argo CD", "kstatus")
	if got, want := slices.Sorted(maps.Keys(table)), slices.Sorted(maps.Keys(states)); !slices.Equal(got, want) {
		t.Fatalf("the table has the states %q, and the test knows %q", got, want)
	}
	for state, row := range table {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			of := &scenario{t, s.Cluster, s.namespace}
			name := states[state].prefix + "-seen"
			of.bring(states[state], []string{name})
			if got, want := of.toFlux(of.untyped(name)), toFluxWithExpressions(row["Argo CD"]); got != want {
				t.Errorf("by the expressions for Flux it is %s, wanted is %s", got, want)
			}
			if got, want := of.stands(of.untyped(name)), (appearance{row["Argo CD"], row["kstatus"]}); got != want {
				t.Errorf("it looks like %+v, and the table says %+v", got, want)
			}
		})
	}
}

// toFluxWithExpressions is what the expressions for Flux are for: a pause ends the wait as well.
func toFluxWithExpressions(argo string) string {
	return map[string]string{"Progressing": "InProgress", "Suspended": "Current", "Degraded": "Failed", "Healthy": "Current"}[argo]
}

// toFlux evaluates the expressions of docs/ecosystem.md, in the order in which Flux does.
func (s *scenario) toFlux(object *unstructured.Unstructured) string {
	s.Helper()
	if object.GetDeletionTimestamp() != nil {
		return "InProgress" // Flux asks no expression then.
	}
	content, err := os.ReadFile(filepath.Join(s.Repository(), "docs", "ecosystem.md"))
	s.must(err)
	_, block, _ := strings.Cut(string(content), "\n```yaml\nspec:\n  wait: true\n")
	block, _, _ = strings.Cut(block, "```")
	var kustomization struct {
		HealthCheckExprs []map[string]string `json:"healthCheckExprs"`
	}
	s.must(yaml.Unmarshal([]byte(block), &kustomization))
	if len(kustomization.HealthCheckExprs) != 1 {
		s.Fatalf("docs/ecosystem.md has %d health checks for Flux", len(kustomization.HealthCheckExprs))
	}
	env, err := cel.NewEnv(cel.Variable("metadata", cel.DynType), cel.Variable("status", cel.DynType))
	s.must(err)
	for _, c := range []struct{ field, status string }{{"inProgress", "InProgress"}, {"failed", "Failed"}, {"current", "Current"}} {
		ast, issues := env.Compile(kustomization.HealthCheckExprs[0][c.field])
		s.must(issues.Err())
		program, err := env.Program(ast)
		s.must(err)
		is, _, err := program.Eval(map[string]any{"metadata": object.Object["metadata"], "status": object.Object["status"]})
		s.must(err)
		if is.Value() == true {
			return c.status
		}
	}
	return "InProgress"
}

// look follows how a Rollout looks to other systems through every state that is stored of it, and ends when it looks
// as the last of what is wanted.
func (s *scenario) look(name string, act func(), want ...appearance) {
	s.Helper()
	before := s.untyped(name)
	watcher, err := s.Dynamic.Resource(rolloutsResource).Namespace(s.namespace).Watch(s.ctx(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + name, ResourceVersion: before.GetResourceVersion()})
	s.must(err)
	defer watcher.Stop()
	act()
	var seen []appearance
	for event := range watcher.ResultChan() {
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			s.Fatalf("a watch answered %v", event.Object)
		}
		// What is observed of the state before may still be written.
		if len(seen) == 0 && object.GetGeneration() == before.GetGeneration() && actionsOf(object) == actionsOf(before) {
			continue
		}
		now := s.stands(object)
		if len(seen) == 0 || seen[len(seen)-1] != now {
			seen = append(seen, now)
		}
		if now == want[len(want)-1] {
			break
		}
	}
	if !slices.Equal(seen, want) {
		s.Errorf("%s looked like %v, wanted is %v", name, seen, want)
	}
}

// actionsOf is how many verbs have done something.
func actionsOf(object *unstructured.Unstructured) int {
	actions, _, _ := unstructured.NestedSlice(object.Object, "status", "actions")
	return len(actions)
}

// How an update looks from its beginning to its end, in every single state that is stored: it never looks finished
// before it is, nor failed while it is not.
func TestAnUpdateAsOtherSystemsSeeIt(t *testing.T) {
	s := together(t)
	moving, paused := appearance{"Progressing", "InProgress"}, appearance{"Suspended", "InProgress"}
	failed, finished := appearance{"Degraded", "Failed"}, appearance{"Healthy", "Current"}
	name := "followed"
	s.create(newRollout(name, 4, weight(25), pause(), weight(50)))
	s.await(name, inPhase(v1alpha1.RolloutPhaseHealthy))
	verb := func(verb string) func() { return func() { s.must(s.perform(name, verb)) } }
	s.look(name, func() { s.setTag(name, "two") }, moving, paused)
	s.look(name, verb("abort"), failed)
	s.look(name, verb("retry"), moving, paused)
	s.look(name, verb("promote"), moving, finished)
	s.look(name, func() { s.setTag(name, "three") }, moving, paused)
	s.look(name, func() { s.setTag(name, "two") }, moving, finished)
}

// The actions that ship for Argo CD do what they are called, by the patches that it makes of what the scripts return.
func TestActionsOfArgoCD(t *testing.T) {
	s := together(t)
	scripts := argocd.Scripts{Root: s.Repository()}
	r := s.deploy(newRollout("acted-on", 2, weight(50), pause()))
	act := func(action string, parameters map[string]string) {
		t.Helper()
		before := s.untyped(r.Name)
		offered, err := scripts.Actions(before)
		s.must(err)
		if found, ok := offered[action]; !ok || found.Disabled {
			t.Errorf("%s is not offered: %+v", action, offered)
		}
		after, err := scripts.Act(before, action, parameters)
		s.must(err)
		patch, statusPatch, err := argocd.Patch(before, after)
		s.must(err)
		if statusPatch != nil {
			t.Errorf("%s writes the status: %s", action, statusPatch)
		}
		_, err = s.Dynamic.Resource(rolloutsResource).Namespace(s.namespace).Patch(s.ctx(), r.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "argocd"})
		s.must(err)
	}
	act("pause", nil)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.setTag(r.Name, "two")
	act("resume", nil)
	s.atPause(r.Name, 1)
	s.awaitPods(r, map[string]int{"one": 1, "two": 1})
	act("scale", map[string]string{"replicas": "4"})
	s.awaitPods(r, map[string]int{"one": 2, "two": 2})
	s.must(s.perform(r.Name, "promote"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	before := s.podUIDs(r, "two")
	s.pastSecond()
	act("restart", nil)
	s.awaitRestarted(r, before)
	for uid := range s.podUIDs(r, "two") {
		if before[uid] {
			t.Errorf("pod %s was not replaced", uid)
		}
	}
}
