// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// What journeys of hundreds of thousands found; guardServices holds every write of these to its rules.

func withoutServices(spec *rollouts.RolloutSpec) {
	spec.Strategy.Canary.StableService, spec.Strategy.Canary.CanaryService = "", ""
}

// turnUntil lets time pass until a decision is as wanted.
func (w *world) turnUntil(is func(engine.Decision) bool) {
	w.t.Helper()
	for range 60 {
		if is(w.Reconcile()) {
			return
		}
		w.SyncAll()
		w.Sleep(time.Second)
	}
	w.t.Fatal("never decided")
}

// cuts is true if a decision leaves a ReplicaSet so many pods at most.
func cuts(rs *appsv1.ReplicaSet, most int32) func(engine.Decision) bool {
	return func(d engine.Decision) bool {
		for _, change := range d.Scale {
			if change.UID == rs.UID && change.Replicas <= most {
				return true
			}
		}
		return false
	}
}

// Canary pods that are too many go before their Services are given back, and not before stable ones are in their place.
func TestServicesAreGivenBackInTheMiddleOfAnUpdate(t *testing.T) {
	for _, b := range [][2]string{{"25%", "25%"}, {"1", "0"}, {"0", "1"}, {"100%", "0"}} {
		w := served(t, bounded(rollout(3), b[0], b[1]))
		stable := w.ReplicaSets()[0]
		w.edit("image v2", image("v2"))
		w.turnUntil(cuts(stable, 2))
		w.Turn()
		w.must(w.Abort())
		w.edit("without Services", withoutServices)
		w.settle()
		w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
		w.pods("3 0")
		w.canaryLeads(0, 0)
	}
}

// Both Services are given back: neither waits for the other, nor for pods that its own clients keep.
func TestServicesOfBothRevisionsAreGivenBack(t *testing.T) {
	w := served(t, bounded(rollout(4, weight(50), pause("")), "25%", "25%"))
	w.update("v2")
	w.canaryLeads(1, 2)
	w.must(w.Abort())
	w.edit("without Services", withoutServices)
	w.settle()
	w.pods("4 0")
	w.canaryLeads(0, 0)
}

// A pod that its ReplicaSet has been told to take away is none to lead clients to, though its status still has it, and
// though the next size has room for it.
func TestServicesAreNotLedToPodsOnTheirWayOut(t *testing.T) {
	w := served(t, bounded(rollout(5), "25%", "25%"))
	stable := w.ReplicaSets()[0]
	w.edit("image v2", image("v2"))
	w.turnUntil(cuts(stable, 0))
	w.SyncEarly(w.ReplicaSets()[0])
	w.edit("back", image("v1"))
	w.Reconcile()
	w.canaryLeads(2, 2)
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("5 0")
	w.canaryLeads(1, 1)
}

// Once clients of stableService are led to the new pods, of which there were as many as there was room for, they are
// not led back to the one old pod that is left while the others are made.
func TestStableServiceIsHandedOverOnce(t *testing.T) {
	for n := int32(1); n <= 8; n++ {
		w := served(t, bounded(rollout(n), "25%", "25%"))
		guard, led := w.OnLead, []string{}
		w.OnLead = func(before, after *corev1.Service) {
			guard(before, after)
			if after.Name == "stable" {
				led = append(led, w.imageOf(after.Spec.Selector[rollouts.PodTemplateHashLabel]))
			}
		}
		w.update("v2")
		w.is(rollouts.RolloutPhaseHealthy, "")
		if len(led) != 1 || led[0] != "v2" {
			t.Errorf("%d replicas: stable was led to %v", n, led)
		}
	}
}

// A Service that keeps clients on a stable revision without any pod does not wait for new pods to go, which must stay.
func TestAServiceWithoutPodsIsGivenBackAtOnce(t *testing.T) {
	r := blueGreen(0)
	image("bad")(&r.Spec)
	w := newWorld(t, r)
	w.AddService("demo-active")
	w.AddService("demo-preview")
	w.settle()
	w.edit("image v2, 1 replica", func(spec *rollouts.RolloutSpec) { image("v2")(spec); scale(1)(spec) })
	w.Reconcile()
	w.edit("canary", func(spec *rollouts.RolloutSpec) {
		spec.Strategy = bounded(rollout(1, pause("")), "25%", "25%").Spec.Strategy
	})
	w.settle()
	w.pods("0 1")
	if hash := w.LeadsTo("demo-active"); hash != "" {
		t.Errorf("clients are led to %s, which has no pod", hash)
	}
}
