// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Rules that mutants of test/mutation showed no other test to hold the engine to.

func TestBlueGreenPromotionIsOfOneRevisionOnly(t *testing.T) {
	w := serving(t, blueGreen(2, manual, previewing(1)))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.must(w.Promote(false))
	w.edit("image v3", image("v3"))
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.leads("v1", "v3")
}

func TestBlueGreenStatusIsWrittenBeforeClientsAreLed(t *testing.T) {
	w := serving(t, blueGreen(2))
	w.edit("image v2", image("v2"))
	led := false
	for range 30 {
		d := w.Reconcile()
		for _, change := range d.Services {
			if change.Name == "demo-active" {
				led = true
				if d.Status == nil || !d.StatusFirst {
					t.Errorf("clients are led before the status is written: %+v", d)
				}
			}
		}
		w.Turn()
	}
	if !led {
		t.Fatal("clients were never led to the new revision")
	}
	// Made anew by somebody, while the status has nothing new to say.
	w.settle()
	w.AddService("demo-active")
	d := w.Reconcile()
	if len(d.Services) == 0 || d.Status == nil || !d.StatusFirst {
		t.Errorf("clients are led before the status is written: %+v", d)
	}
}

func TestRestartWaitsWhilePausedByHand(t *testing.T) {
	w := deployed(t, rollout(4))
	w.edit("paused", paused(true))
	w.must(w.Restart())
	w.settle()
	if w.Written.Evictions != 0 {
		t.Fatalf("%d pods were restarted while paused", w.Written.Evictions)
	}
	w.edit("resumed", paused(false))
	w.settle()
	if w.Written.Evictions != 4 {
		t.Errorf("%d pods were restarted after that, want 4", w.Written.Evictions)
	}
}

// Else both take the pods that may be missing: one by the new size, another by its eviction.
func TestRestartWaitsWhilePodsAreMoved(t *testing.T) {
	w := deployed(t, bounded(rollout(4, weight(50), pause("")), "0", "1"))
	w.must(w.Restart())
	w.edit("image v2", image("v2"))
	moves, evictions := 0, 0
	for range 60 {
		d := w.Reconcile()
		if evictions += len(d.Evict); d.Create != nil || len(d.Scale) > 0 {
			if moves++; len(d.Evict) > 0 {
				t.Errorf("pods are moved and evicted at once: %+v", d)
			}
		}
		w.Turn()
	}
	if moves < 4 || evictions == 0 {
		t.Errorf("%d decisions moved pods, %d pods were evicted: this shows nothing", moves, evictions)
	}
}

// A pause by hand that leaves the new revision no pod makes the stable one serve alone: that is one decision, not two.
func TestStandingBackIsOneDecision(t *testing.T) {
	w := deployed(t, bounded(rollout(2), "0", "1"))
	w.edit("image v2, 5 replicas", func(spec *rollouts.RolloutSpec) { image("v2")(spec); scale(5)(spec) })
	w.Reconcile()
	w.edit("2 replicas", scale(2))
	w.must(w.Pause())
	w.SyncAll()
	w.Reconcile()
	if *w.ReplicaSets()[1].Spec.Replicas != 0 {
		t.Fatalf("the new revision is to have %d pods, want none", *w.ReplicaSets()[1].Spec.Replicas)
	}
	if d := engine.Decide(w.Snapshot()); writes(d) {
		t.Errorf("decided more: %+v", d)
	}
	w.settle()
	w.pods("2 0")
}

// An abort that arrives when all pods run the new revision, before that is seen: there has to be something to go back to.
func TestAbortAtTheLastMomentGoesBack(t *testing.T) {
	w := deployed(t, rollout(2))
	stable := w.Rollout.Status.StableRS
	w.edit("image v2", image("v2"))
	for turns := 0; ; turns++ {
		if of := w.ReplicaSets(); len(of) == 2 && of[0].Status.Replicas == 0 && of[1].Status.AvailableReplicas == 2 {
			break
		}
		if turns == 30 {
			t.Fatal("the new revision never has all pods")
		}
		w.Reconcile()
		w.Turn()
	}
	if w.Rollout.Status.StableRS != stable {
		t.Fatal("the update is complete: an abort comes too late")
	}
	w.must(w.Abort())
	w.settle()
	w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
	w.pods("2 0")
	if w.Rollout.Status.StableRS != stable {
		t.Errorf("the stable revision is %s, want %s", w.Rollout.Status.StableRS, stable)
	}
}
