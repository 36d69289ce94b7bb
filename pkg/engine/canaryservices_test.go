// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// The Services of a canary follow an update and lead to pods at every write, at every size and within all bounds; the
// last pod of the old revision goes only when stableService leads to the new one.
func TestCanaryServicesFollowAnUpdate(t *testing.T) {
	for _, b := range [][2]string{{"25%", "25%"}, {"1", "0"}, {"0", "1"}, {"100%", "0"}, {"0", "50%"}, {"2", "2"}, {"0", "100%"}, {"100%", "100%"}} {
		for n := int32(1); n <= 6; n++ {
			t.Run(fmt.Sprintf("%d replicas, surge %s, unavailable %s", n, b[0], b[1]), func(t *testing.T) {
				w := served(t, bounded(rollout(n, weight(30), pause("")), b[0], b[1]))
				w.update("v2")
				if canary := w.ReplicaSets()[1]; w.Available(canary) > 0 {
					w.canaryLeads(1, 2)
				} else {
					w.canaryLeads(1, 1)
				}
				w.must(w.Promote(false))
				w.settle()
				w.is(rollouts.RolloutPhaseHealthy, "")
				w.pods(fmt.Sprintf("0 %d", n))
				w.canaryLeads(2, 2)
				before := w.Written
				w.Sleep(time.Hour)
				w.settle()
				if w.Written != before {
					t.Errorf("written in a steady state: %+v, before %+v", w.Written, before)
				}
			})
		}
	}
}

func TestCanaryServices(t *testing.T) {
	for _, test := range []struct {
		name   string
		steps  []rollouts.CanaryStep
		happen func(w *world)
		stable int
		canary int
		pods   string
		phase  rollouts.RolloutPhase
	}{
		{
			name: "no canary pod is wanted yet", steps: []rollouts.CanaryStep{pause("")},
			happen: func(*world) {}, stable: 1, canary: 1, pods: "4 0", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "a weight of 100 leaves no stable pod to lead to", steps: []rollouts.CanaryStep{weight(100), pause("")},
			happen: func(*world) {}, stable: 2, canary: 2, pods: "0 4", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "a weight of 0 after that leads back", steps: []rollouts.CanaryStep{weight(100), weight(0), pause("")},
			happen: func(*world) {}, stable: 1, canary: 1, pods: "4 0", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "abort", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.must(w.Abort()) }, stable: 1, canary: 1, pods: "4 0", phase: rollouts.RolloutPhaseDegraded,
		},
		{
			name: "abort at a weight of 100", steps: []rollouts.CanaryStep{weight(100), pause("")},
			happen: func(w *world) { w.must(w.Abort()) }, stable: 1, canary: 1, pods: "4 0", phase: rollouts.RolloutPhaseDegraded,
		},
		{
			name: "retry after an abort", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.must(w.Abort()); w.settle(); w.must(w.Retry()) }, stable: 1, canary: 2, pods: "2 2", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "fast rollback", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.edit("back", image("v1")) }, stable: 1, canary: 1, pods: "4 0", phase: rollouts.RolloutPhaseHealthy,
		},
		{
			name: "fast rollback from a weight of 100", steps: []rollouts.CanaryStep{weight(100), pause("")},
			happen: func(w *world) { w.edit("back", image("v1")) }, stable: 1, canary: 1, pods: "4 0", phase: rollouts.RolloutPhaseHealthy,
		},
		{
			name: "a third revision", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.edit("v3", image("v3")) }, stable: 1, canary: 3, pods: "2 0 2", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "a third revision that does not run", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.edit("bad", image("bad")) }, stable: 1, canary: 1, pods: "2 1 0", phase: rollouts.RolloutPhaseDegraded,
		},
		{
			name: "promote in full", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.must(w.Promote(true)) }, stable: 2, canary: 2, pods: "0 4", phase: rollouts.RolloutPhaseHealthy,
		},
		{
			name: "scaled to 0 in the middle, and up again", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.edit("0", scale(0)); w.settle(); w.pods("0 0"); w.edit("6", scale(6)) }, stable: 1, canary: 2, pods: "3 3", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "paused by hand while it would hand over", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) {
				w.must(w.Promote(true))
				w.Reconcile()
				w.SyncAll()
				w.must(w.Pause())
			}, stable: 1, canary: 2, pods: "1 3", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "the canary Service appears in the middle", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.AddService("canary") }, stable: 1, canary: 2, pods: "2 2", phase: rollouts.RolloutPhasePaused,
		},
		{
			name: "the stable Service vanishes, and the update ends without", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.RemoveService("stable"); w.must(w.Promote(true)) }, stable: 0, canary: 2, pods: "0 4",
		},
		{
			name: "another Rollout takes the stable Service", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) { w.GiveService("stable", "other"); w.must(w.Promote(true)) }, stable: 1, canary: 2, pods: "0 4",
		},
		{
			name: "a Service that is not named any more leads to all pods", steps: []rollouts.CanaryStep{weight(50), pause("")},
			happen: func(w *world) {
				w.edit("no Services", func(spec *rollouts.RolloutSpec) {
					canary := *spec.Strategy.Canary
					canary.StableService, canary.CanaryService = "", ""
					spec.Strategy.Canary = &canary
				})
			}, stable: 0, canary: 0, pods: "2 2", phase: rollouts.RolloutPhasePaused,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := served(t, bounded(rollout(4, test.steps...), "1", "1"))
			w.update("v2")
			test.happen(w)
			w.settle()
			w.canaryLeads(test.stable, test.canary)
			w.pods(test.pods)
			if got := w.Rollout.Status.Phase; test.phase != "" && got != test.phase {
				t.Errorf("phase %s %q, want %s", got, w.Rollout.Status.Message, test.phase)
			}
		})
	}
}

// stableService is first led to the stable revision when all of its pods are available; once it is managed, one is
// enough.
func TestStableServiceIsAdoptedWhenAllPodsAreAvailable(t *testing.T) {
	w := deployed(t, rollout(3))
	w.Disturb(w.ReplicaSets()[0], 0)
	w.SyncAll()
	w.AddService("stable")
	w.AddService("canary")
	w.edit("Services", func(spec *rollouts.RolloutSpec) { withServices(&rollouts.Rollout{Spec: *spec}) })
	w.Reconcile()
	w.canaryLeads(0, 1)
	w.settle()
	w.canaryLeads(1, 1)
	for i := range 2 {
		w.Disturb(w.ReplicaSets()[0], i)
	}
	w.SyncAll()
	before := w.Written.Services
	w.Reconcile()
	if w.Written.Services != before {
		t.Error("a Service that leads where it should was written")
	}
}

// A Rollout of the same name takes over what an earlier one left behind; before it has pods nothing is touched.
func TestServicesOfARolloutThatIsGone(t *testing.T) {
	w := newWorld(t, withServices(bounded(rollout(2), "1", "1")))
	guardServices(w.Cluster, t.Fatalf)
	w.AddService("stable")
	w.GiveService("stable", "demo")
	w.Reconcile()
	if w.Written.Services != 0 {
		t.Error("a Service was led to a revision without pods")
	}
	w.settle()
	w.canaryLeads(1, 0)
}

// Deleted together with its pods a Rollout gives its Services back first; deleted in any other way it is gone, or its
// pods are to serve on.
func TestServicesOfARolloutThatIsBeingDeleted(t *testing.T) {
	w := served(t, bounded(rollout(2), "1", "1"))
	for finalizer, want := range map[string]int{metav1.FinalizerDeleteDependents: 2, metav1.FinalizerOrphanDependents: 0} {
		s := w.Snapshot()
		s.Rollout = s.Rollout.DeepCopy()
		s.Rollout.DeletionTimestamp, s.Rollout.Finalizers = ptr.To(metav1.NewTime(w.Now())), []string{finalizer}
		d := engine.Decide(s)
		if len(d.Services) != want || d.Status != nil || len(d.Scale) > 0 {
			t.Errorf("%s: decided %+v, want %d Services", finalizer, d, want)
		}
		for _, change := range d.Services {
			if change.Hash != "" || change.ManagedBy != "" {
				t.Errorf("%s: %+v is not given back", finalizer, change)
			}
		}
	}
}

// A Service whose selector asks for what the pods do not have is left alone: with a hash besides it would lead nowhere.
func TestServiceThatSelectsOtherPodsIsLeftAlone(t *testing.T) {
	w := newWorld(t, withServices(rollout(2)))
	w.AddService("stable")
	w.Service("stable").Spec.Selector["tier"] = "web"
	w.settle()
	if w.Written.Services != 0 {
		t.Error("the Service was written")
	}
}

// Of pods that are ready and not yet available any may stay when a ReplicaSet is cut: so many are kept that an available
// one surely is among them.
func TestCanaryServicesKeepAPodThatIsAvailable(t *testing.T) {
	for kept := range 3 {
		r := bounded(rollout(3, weight(100), pause("")), "100%", "0")
		r.Spec.MinReadySeconds = 30
		w := served(t, r)
		w.edit("v2", image("v2"))
		w.Reconcile()
		w.SyncAll()
		w.Sleep(30 * time.Second) // The new pods are ready, and nearly available.
		w.SyncAll()
		stable := w.ReplicaSets()[0]
		for i := range 3 {
			if i != kept {
				w.Disturb(stable, i)
			}
		}
		w.Sleep(time.Second)
		w.SyncAll()
		w.settle()
		w.canaryLeads(2, 2)
		w.pods("0 3")
	}
}

// Nor does a revision in between lose its last pod before canaryService leads elsewhere, however fast it could go.
func TestCanaryServicesKeepAPodInBetween(t *testing.T) {
	w := served(t, bounded(rollout(4, weight(50), pause("")), "1", "100%"))
	w.update("v2")
	w.canaryLeads(1, 2)
	w.edit("v3", image("v3"))
	w.settle()
	w.canaryLeads(1, 3)
	w.pods("2 0 2")
}
