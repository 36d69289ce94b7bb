// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestPhase(t *testing.T) {
	tests := []struct {
		rule          string
		change        func(*v1alpha1.Rollout)
		phase, reason string
	}{
		{"the stored phase and message", func(*v1alpha1.Rollout) {}, "Paused", "CanaryPauseStep"},
		{"observedGeneration < generation: Progressing", func(r *v1alpha1.Rollout) { r.Generation = 3 }, "Progressing", "waiting for rollout spec update to be observed"},
		{"no phase yet: Progressing", func(r *v1alpha1.Rollout) { r.Status.Phase, r.Status.Message = "", "" }, "Progressing", ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			phase, message := Phase(web(test.change))
			if string(phase) != test.phase || message != test.reason {
				t.Errorf("got %q %q, want %q %q", phase, message, test.phase, test.reason)
			}
		})
	}
}

func TestPhaseIcons(t *testing.T) {
	for phase, want := range map[v1alpha1.RolloutPhase]string{
		"Healthy": "✔ Healthy", "Degraded": "✖ Degraded", "Paused": "॥ Paused", "Progressing": "◌ Progressing", "Other": "? Other",
	} {
		if got := phaseStatus(phase).span().text; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestActualWeight(t *testing.T) {
	tests := []struct {
		rule           string
		change         func(*v1alpha1.Rollout)
		canary, stable int32
		want           int32
	}{
		{"canary available * 100 / total available", nil, 1, 4, 20},
		{"integer division", nil, 1, 5, 16},
		{"no pod available: 0", nil, 0, 0, 0},
		{"past the last step, until the last old pod is gone", func(r *v1alpha1.Rollout) { r.Status.CurrentStepIndex = ptr.To[int32](8) }, 3, 2, 60},
		{"past the last step, with no old pod", func(r *v1alpha1.Rollout) { r.Status.CurrentStepIndex = ptr.To[int32](8) }, 5, 0, 100},
		{"without steps the share, as in a rolling update", func(r *v1alpha1.Rollout) {
			r.Spec.Strategy.Canary.Steps, r.Status.CurrentStepIndex = nil, nil
		}, 2, 2, 50},
		{"in a rollback, until the pods of the revision given up are gone", func(r *v1alpha1.Rollout) { r.Status.StableRS = "new" }, 4, 1, 80},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			r := web()
			if test.change != nil {
				test.change(r)
			}
			s := Snapshot{Rollout: r, ReplicaSets: []*appsv1.ReplicaSet{
				replicaSet("new", 2, test.canary, "i", time.Minute), replicaSet("old", 1, test.stable, "i", time.Hour),
			}}
			if got := s.actualWeight(); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestSetWeight(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*v1alpha1.Rollout)
		want   int32
	}{
		{"in an update, what the server wants", func(*v1alpha1.Rollout) {}, 20},
		{"in an update that nobody has looked at yet, nothing", func(r *v1alpha1.Rollout) { r.Status.Canary = nil }, 0},
		{"no stable revision: 100", func(r *v1alpha1.Rollout) { r.Status.StableRS = "" }, 100},
		{"current hash == stable hash: 100", func(r *v1alpha1.Rollout) { r.Status.StableRS = "new" }, 100},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if got := setWeight(web(test.change)); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
