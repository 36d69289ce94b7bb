// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// What keeps a Service from being led is explained and shown by the phase, and heals by itself; a canary goes on
// moving pods meanwhile.
func TestServicesThatCannotBeLed(t *testing.T) {
	for _, test := range []struct {
		name    string
		happen  func(w *world)
		heal    func(w *world)
		code    rollouts.BlockerCode
		message string
	}{
		{
			name:    "missing",
			happen:  func(w *world) { w.RemoveService("canary") },
			heal:    func(w *world) { w.AddService("canary") },
			code:    rollouts.BlockerServiceMissing,
			message: `spec.strategy.canary.canaryService names Service "canary", which does not exist in namespace default`,
		},
		{
			name:    "of another Rollout",
			happen:  func(w *world) { w.GiveService("stable", "other") },
			heal:    func(w *world) { w.GiveService("stable", "") },
			code:    rollouts.BlockerServiceTaken,
			message: `spec.strategy.canary.stableService names Service "stable", which Rollout "other" manages`,
		},
		{
			name: "for other pods",
			happen: func(w *world) {
				w.AddService("stable")
				w.Service("stable").Spec.Selector["tier"] = "web"
			},
			heal:    func(w *world) { w.AddService("stable") },
			code:    rollouts.BlockerServiceMismatch,
			message: `spec.strategy.canary.stableService names Service "stable", whose selector asks for the label tier=web`,
		},
		{
			name: "without a selector",
			happen: func(w *world) {
				w.AddService("canary")
				w.Service("canary").Spec.Selector = nil
			},
			heal:    func(w *world) { w.AddService("canary") },
			code:    rollouts.BlockerServiceMismatch,
			message: `spec.strategy.canary.canaryService names Service "canary", which has no selector`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := served(t, bounded(rollout(4, weight(50), pause("")), "1", "1"))
			test.happen(w)
			w.Reconcile()
			if st := w.Rollout.Status; st.Phase != rollouts.RolloutPhaseProgressing || !strings.HasPrefix(st.Message, "waiting: "+test.message) {
				t.Errorf("at first %s %q", st.Phase, st.Message)
			}
			w.settle()
			w.degraded("InvalidSpec")
			got := engine.Explain(w.Snapshot(), engine.ControllerState{Acting: true})
			if len(got) != 1 || got[0].Code != test.code || !strings.HasPrefix(got[0].Message, test.message) || got[0].Next != "kubectl edit rollouts.sluice.dev demo -n default" || got[0].Since == nil {
				t.Errorf("explained as %+v", got)
			}
			before := w.Written
			w.Sleep(time.Hour)
			w.settle()
			if w.Written != before {
				t.Error("written though nothing changed")
			}
			w.update("v2")
			w.pods("2 2")
			test.heal(w)
			w.settle()
			w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
			w.canaryLeads(1, 2)
			if got := engine.Explain(w.Snapshot(), engine.ControllerState{Acting: true}); len(got) != 1 || got[0].Code != rollouts.BlockerPaused {
				t.Errorf("healed, and explained as %+v", got)
			}
		})
	}
}

// The Services of blueGreen are explained by their fields too.
func TestServicesOfBlueGreenAreExplained(t *testing.T) {
	r := rollout(2)
	r.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: "active", PreviewService: "preview"}}
	got := engine.Explain(engine.Snapshot{Rollout: r, Now: start}, engine.ControllerState{Acting: true})
	want := []string{"spec.strategy.blueGreen.activeService ", "spec.strategy.blueGreen.previewService "}
	for i, prefix := range want {
		if i >= len(got) || got[i].Code != rollouts.BlockerServiceMissing || !strings.HasPrefix(got[i].Message, prefix) {
			t.Errorf("explained as %+v", got)
		}
	}
}
