// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"testing"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// With the aliases that ship, stock kubectl has the verbs as commands.
func TestAliasesOfStockKubectl(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("aliased")
	kubectl := func(args ...string) cluster.Output {
		t.Helper()
		kuberc := filepath.Join(s.Repository(), "artifacts", "kuberc.yaml")
		output, err := s.KubectlWith(s.ctx(), kuberc, "", append(args, "--namespace="+s.namespace)...)
		s.must(err)
		return output
	}
	// newest fails the test unless the newest action, after a command that succeeded, is this one.
	newest := func(output cluster.Output, verb, reason string) {
		t.Helper()
		s.must(output.Err())
		actions := s.get(r.Name).Status.Actions
		if len(actions) == 0 || actions[len(actions)-1].Verb != verb || actions[len(actions)-1].Reason != reason {
			t.Fatalf("after %s, the actions are %+v", output.Command(), actions)
		}
	}
	s.must(kubectl("promote", r.Name, "--dry-run=server").Err())
	s.unchanged(r)
	newest(kubectl("promote", r.Name), "promote", "")
	s.atPause(r.Name, 2)
	newest(kubectl("pauserollout", r.Name, "-p", `{"reason":"lunch"}`), "pause", "lunch")
	if !s.get(r.Name).Spec.Paused {
		t.Error("not paused")
	}
	newest(kubectl("resumerollout", r.Name), "resume", "")
	s.atPause(r.Name, 2)
	newest(kubectl("restartrollout", r.Name), "restart", "")
	newest(kubectl("abort", r.Name), "abort", "")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	newest(kubectl("retry", r.Name), "retry", "")
	s.atPause(r.Name, 1)
	newest(kubectl("promotefull", r.Name), "promote", "")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitPods(r, map[string]int{"two": 2})
	newest(kubectl("undorollout", r.Name), "undo", "")
	s.atPause(r.Name, 1)
	if image := s.get(r.Name).Spec.Template.Spec.Containers[0].Image; image != "example.com/demo:one" {
		t.Errorf("undone to %s", image)
	}
	// A refusal is the server's, and ends in a failure.
	refused := kubectl("retry", r.Name)
	if refused.Code == 0 {
		t.Error("a retry of what was not aborted succeeds")
	}
	s.contains(refused.Stderr, "cannot retry", r.Name)
}
