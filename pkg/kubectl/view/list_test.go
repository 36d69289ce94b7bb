// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestList(t *testing.T) {
	paused := web()
	rolling := web(func(r *v1alpha1.Rollout) {
		r.Name, r.Namespace = "api-gateway", "edge"
		r.Spec.Strategy.Canary.Steps, r.Status.CurrentStepIndex = nil, nil
		r.Status.Canary.Weights.Canary.Weight = 100
		r.Status.Phase, r.Status.ReadyReplicas = v1alpha1.RolloutPhaseProgressing, 3
	})
	healthy := web(func(r *v1alpha1.Rollout) {
		r.Status.Phase, r.Status.StableRS, r.Status.CurrentStepIndex = v1alpha1.RolloutPhaseHealthy, "new", ptr.To[int32](8)
		r.Status.UpdatedReplicas = 5
	})
	steps := []struct {
		rule string
		all  []*v1alpha1.Rollout
		want string
	}{
		{"nothing is printed of nothing, not even a header", nil, ""},
		{"rows are sorted, READY is ready/current, a rolling update has no step", []*v1alpha1.Rollout{paused, rolling}, `
NAMESPACE  NAME         STRATEGY  STATUS       STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
edge       api-gateway  Canary    Progressing  -     100         3/5    5        1           5
shop       web          Canary    Paused       1/8   20          5/5    5        1           5
`},
		{"only a row that has changed is printed again, under no second header", []*v1alpha1.Rollout{healthy, rolling}, `
shop       web          Canary    Healthy      8/8   100         5/5    5        5           5
`},
		{"a Rollout that is gone is printed once more", []*v1alpha1.Rollout{rolling}, `
shop       web          Canary    Deleted      8/8   100         5/5    5        5           5
`},
		{"nothing has changed", []*v1alpha1.Rollout{rolling}, ""},
	}
	list := &List{Namespaces: true}
	for _, step := range steps {
		lines := list.Update(step.all)
		if diff := cmp.Diff(strings.TrimSpace(step.want), strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s:\n%s", step.rule, diff)
		}
	}
}

// TestListOfBlueGreen: there are neither steps nor weights.
func TestListOfBlueGreen(t *testing.T) {
	lines := (&List{}).Update([]*v1alpha1.Rollout{web(func(r *v1alpha1.Rollout) {
		r.Spec.Strategy = v1alpha1.RolloutStrategy{BlueGreen: &v1alpha1.BlueGreenStrategy{ActiveService: "web"}}
		r.Status.CurrentStepIndex, r.Status.Canary = nil, nil
	})})
	want := []string{
		"NAME  STRATEGY   STATUS  STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE",
		"web   BlueGreen  Paused  -     -           5/5    5        1           5",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestListWithoutNamespaces(t *testing.T) {
	lines := (&List{}).Update([]*v1alpha1.Rollout{web()})
	want := []string{
		"NAME  STRATEGY  STATUS  STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE",
		"web   Canary    Paused  1/8   20          5/5    5        1           5",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}
