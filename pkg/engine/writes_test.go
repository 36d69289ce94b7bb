// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestWritesOfAnUpdate holds the update that is measured, five replicas through 20, 40, 60, 80, to what it
// may write: each write costs the cluster a request, and everybody who watches an event.
func TestWritesOfAnUpdate(t *testing.T) {
	for name, start := range map[string]time.Duration{"quick pods": 30 * time.Millisecond, "pods of a second": time.Second, "slow pods": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(5, weight(20), weight(40), weight(60), weight(80)))
			w.Pods = startsAfter(start)
			w.Written.ReplicaSets, w.Written.Status, w.Events = 0, 0, nil

			w.edit("v2", image("v2"))
			w.watch()
			w.is(rollouts.RolloutPhaseHealthy, "")
			if w.Written.ReplicaSets > 11 {
				t.Errorf("%d writes to ReplicaSets, want at most 11", w.Written.ReplicaSets)
			}
			if w.Written.Status > 12 {
				t.Errorf("%d writes of the status, want at most 12", w.Written.Status)
			}
			if len(w.Events) > 3 {
				t.Errorf("%d events, want at most 3: %v", len(w.Events), w.Events)
			}
		})
	}
}

// watch lets the controller decide after every single change that it can see, as it does in a cluster, until
// the Rollout is Healthy.
func (w *world) watch() {
	w.t.Helper()
	for range 10000 {
		for _, rs := range w.ReplicaSets() {
			w.Reconcile()
			if now := w.Find(rs.Labels[rollouts.PodTemplateHashLabel]); now != nil {
				w.Sync(now)
			}
			w.Reconcile()
		}
		if w.Rollout.Status.Phase == rollouts.RolloutPhaseHealthy {
			return
		}
		w.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("never Healthy")
}

// TestCountsFollowWithinASecond: counts alone may wait a second while pods are being moved, not longer, and
// the decision asks to be called for them.
func TestCountsFollowWithinASecond(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), pause("")))
	w.Pods = startsAfter(time.Minute)
	w.edit("v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	d := w.Reconcile()
	if d.Status != nil || d.RequeueAfter <= 0 || d.RequeueAfter > time.Second+time.Millisecond {
		t.Fatalf("counts are to wait, and to be asked for: %+v", d)
	}
	w.Sleep(d.RequeueAfter)
	w.Reconcile()
	if got := w.Rollout.Status.UpdatedReplicas; got != 1 {
		t.Errorf("%d updated replicas shown, want 1", got)
	}
}
