// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// ready makes so many pods of a ReplicaSet ready, which would not be by themselves.
func (w *world) ready(rs *appsv1.ReplicaSet, n int) {
	w.t.Helper()
	if len(w.PodsOf(rs)) < n {
		w.t.Fatalf("%s has %d pods, want %d", rs.Name, len(w.PodsOf(rs)), n)
	}
	for _, p := range w.PodsOf(rs)[:n] {
		p.Ready, p.Since = true, w.Now()
	}
	w.SyncAll()
}

// A step is done when as many new pods are available as the threshold asks for; the update itself only with all.
func TestReplicaProgressThreshold(t *testing.T) {
	percent := func(v int32) *rollouts.ReplicaProgressThreshold {
		return &rollouts.ReplicaProgressThreshold{Type: rollouts.ProgressThresholdPercent, Value: v}
	}
	pods := func(v int32) *rollouts.ReplicaProgressThreshold {
		return &rollouts.ReplicaProgressThreshold{Type: rollouts.ProgressThresholdPods, Value: v}
	}
	for _, test := range []struct {
		threshold *rollouts.ReplicaProgressThreshold
		weight    int32
		available int // of the canary pods of that weight, of 10
		done      bool
	}{
		{nil, 50, 4, false},
		{nil, 50, 5, true},
		{percent(80), 50, 3, false},
		{percent(80), 50, 4, true},
		{percent(61), 50, 3, false}, // 3.05 rounds up
		{percent(60), 50, 3, true},
		{percent(1), 50, 0, false},
		{percent(1), 50, 1, true},
		{percent(100), 50, 4, false},
		{pods(3), 50, 2, false},
		{pods(3), 50, 3, true},
		{pods(30), 50, 4, false},
		{pods(30), 50, 5, true},
		{pods(1), 0, 0, true},
	} {
		t.Run(fmt.Sprintf("%+v %d of %d %%", test.threshold, test.available, test.weight), func(t *testing.T) {
			r := bounded(rollout(10, weight(test.weight), pause("")), "100%", "100%")
			r.Spec.Strategy.Canary.ReplicaProgressThreshold = test.threshold
			w := deployed(t, r)
			w.update("bad") // None of its pods ever is ready by itself.
			w.ready(w.ReplicaSets()[1], test.available)
			w.settle()
			if test.done {
				w.step(1)
			} else {
				w.step(0)
			}
		})
	}
}

// Whatever the threshold, a revision becomes stable only with all of its pods available.
func TestReplicaProgressThresholdIsNotForTheEnd(t *testing.T) {
	r := bounded(rollout(4, weight(50)), "0", "50%")
	r.Spec.Strategy.Canary.ReplicaProgressThreshold = &rollouts.ReplicaProgressThreshold{Type: rollouts.ProgressThresholdPods, Value: 1}
	w := deployed(t, r)
	w.update("bad")
	w.step(0)
	w.ready(w.ReplicaSets()[1], 1)
	w.settle()
	w.step(1)
	for n := 2; n <= 4; n++ {
		if w.Rollout.Status.StableRS == w.Rollout.Status.CurrentPodHash {
			t.Fatalf("stable with %d of 4 pods available", n-1)
		}
		w.ready(w.ReplicaSets()[1], n)
		w.settle()
	}
	w.is(rollouts.RolloutPhaseHealthy, "")
}
