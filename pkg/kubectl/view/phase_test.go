// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"testing"

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
