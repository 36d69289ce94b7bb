// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// The rows of reference sections 3.1 and 3.2 that apply: each named after the end-to-end test it is from.

func TestRolloutScalingWhenPaused(t *testing.T) {
	w := deployed(t, rollout(1, weight(25), pause("")))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("1 1")
	w.edit("replicas 8", scale(8))
	w.settle()
	w.pods("6 2")
	w.edit("replicas 4", scale(4))
	w.settle()
	w.pods("3 1")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.step(1)
}

func TestRolloutWithMaxSurgeScalingDuringUpdate(t *testing.T) {
	w := deployed(t, bounded(rollout(4), "100%", "0"))
	w.update("bad")
	w.pods("4 0")
	w.sizes("4 4")
	w.edit("replicas 8", scale(8))
	w.settle()
	w.sizes("4 8")
	w.edit("replicas 4", scale(4))
	w.settle()
	w.pods("4 0")
	w.sizes("4 4")
}

func TestRolloutScalingDuringUpdate(t *testing.T) {
	w := deployed(t, bounded(rollout(4), "2", "0"))
	w.update("bad")
	w.sizes("4 2")
	w.edit("replicas 8", scale(8))
	w.settle()
	w.sizes("4 6")
	w.edit("replicas 4", scale(4))
	w.settle()
	w.pods("4 0")
	w.sizes("4 2")
}

func TestReduceWeightAndHonorMaxUnavailable(t *testing.T) {
	w := deployed(t, bounded(rollout(3, weight(100), pause(""), weight(0), pause(""), weight(100)), "2", "0"))
	w.update("v2")
	w.pods("0 3")
	w.must(w.Promote(false))
	w.Reconcile()
	w.sizes("2 3") // no instant shrink
	w.settle()
	w.pods("3 0")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
}

func TestCanaryProgressDeadlineExceededWithPause(t *testing.T) {
	r := bounded(rollout(3, weight(20), pause("")), "1", "0")
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](5)
	w := newWorld(t, r)
	w.Pods = startsAfter(10 * time.Second)
	w.Reconcile()
	w.SyncAll()
	w.waitFor(rollouts.RolloutPhaseDegraded, "ProgressDeadlineExceeded")
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	w.waitFor(rollouts.RolloutPhaseDegraded, "ProgressDeadlineExceeded")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("3 1")
	w.Sleep(time.Hour) // the clock stands still in a pause
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.must(w.Promote(false))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}

func TestCanaryWithPausedRollout(t *testing.T) {
	w := deployed(t, bounded(rollout(3, weight(20), pause("")), "1", "0"))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.update("v3")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("3 0 1")
	w.must(w.Abort())
	w.settle()
	w.pods("3 0 0") // the fall-back stays the first revision
}

func TestCanaryWithSpecPause(t *testing.T) {
	r := rollout(3, weight(20))
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](5)
	w := deployed(t, r)
	w.edit("paused", paused(true))
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.Sleep(time.Minute)
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "manually paused")
}

func TestRolloutAbortRetryPromote(t *testing.T) {
	w := deployed(t, rollout(1, weight(50), pause("3s")))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("1 1")
	w.must(w.Abort())
	w.settle()
	w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
	w.pods("1 0")
	w.must(w.Retry())
	w.is(rollouts.RolloutPhaseProgressing, "more replicas need to be updated")
	w.step(0)
	w.Reconcile()
	w.SyncAll()
	w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("1 1")
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 1")
	w.events("NewReplicaSetCreated RolloutCompleted NewReplicaSetCreated RolloutPaused RolloutPaused RolloutCompleted")
}

func TestCanaryPromoteFull(t *testing.T) {
	w := deployed(t, rollout(4, pause("24h"), weight(50), pause("")))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.must(w.Abort())
	w.settle()
	w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
	w.must(w.Promote(true))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 4")
	if w.Rollout.Status.PromoteFull {
		t.Error("promoteFull outlives the promotion")
	}
}

func TestRolloutGoodToBadUpdate(t *testing.T) {
	w := deployed(t, bounded(rollout(4), "1", "0"))
	w.update("bad1")
	w.degraded("ProgressDeadlineExceeded")
	w.sizes("4 1")
	w.edit("image bad2", image("bad2"))
	w.is(rollouts.RolloutPhaseProgressing, "waiting for rollout spec update to be observed")
	w.settle()
	w.degraded("ProgressDeadlineExceeded")
	w.sizes("4 0 1")
	w.pods("4 0 0")
}

func TestRolloutBadToGoodUpdate(t *testing.T) {
	for name, steps := range map[string][]rollouts.CanaryStep{
		"without steps":                             nil,
		"steps do not apply without a stable":       {weight(50), pause("")},
		"nor does a pause that comes before weight": {pause(""), weight(50)},
	} {
		t.Run(name, func(t *testing.T) {
			r := bounded(rollout(4, steps...), "1", "0")
			r.Spec.Template.Spec.Containers[0].Image = "bad"
			w := newWorld(t, r)
			w.settle()
			w.degraded("ProgressDeadlineExceeded")
			w.refused(w.Abort(), "NoStable")
			w.update("v2")
			w.is(rollouts.RolloutPhaseHealthy, "")
			w.pods("0 4")
		})
	}
}

func TestRolloutPauseDurationGreaterThanProgressDeadlineSeconds(t *testing.T) {
	r := rollout(3, weight(32), pause("30s"), weight(67))
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](5)
	w := deployed(t, r)
	w.edit("image v2", image("v2"))
	for range 60 {
		w.Reconcile()
		w.SyncAll()
		w.Sleep(time.Second)
		w.SyncAll()
		if w.Rollout.Status.Phase == rollouts.RolloutPhaseDegraded {
			t.Fatal("Degraded in a pause")
		}
	}
	w.is(rollouts.RolloutPhaseHealthy, "")
}

func TestSpecAndReplicaChangeSameTime(t *testing.T) {
	w := deployed(t, rollout(2, weight(10), pause("10s"), weight(20), pause("5s")))
	both := func(name string, n int32) func(*rollouts.RolloutSpec) {
		return func(spec *rollouts.RolloutSpec) { image(name)(spec); scale(n)(spec) }
	}
	w.edit("v2, 3 replicas", both("v2", 3))
	w.Reconcile()
	w.SyncAll()
	w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.edit("v3, 4 replicas", both("v3", 4))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 0 4")
	if st := w.Rollout.Status; st.Replicas != 4 || st.UpdatedReplicas != 4 || st.ReadyReplicas != 4 || st.AvailableReplicas != 4 || st.HPAReplicas != 4 {
		t.Errorf("counts %+v, want 4 each", st)
	}
}

// startsAfter are pods that all become ready after a time.
func startsAfter(d time.Duration) func(*corev1.PodTemplateSpec) (time.Duration, bool) {
	return func(*corev1.PodTemplateSpec) (time.Duration, bool) { return d, true }
}

// TestChangedMinReadySecondsAreNotHealthyUnseen: after "minReadySeconds: 30" a pod that got ready a second ago
// is not available, and nothing may say Ready before the ReplicaSet has counted again.
func TestChangedMinReadySecondsAreNotHealthyUnseen(t *testing.T) {
	w := deployed(t, rollout(2))
	w.edit("minReadySeconds 30", func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = 30 })
	for range 3 {
		w.Reconcile()
		w.is(rollouts.RolloutPhaseProgressing, "updated replicas are still becoming available")
	}
	w.SyncAll()
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "updated replicas are still becoming available")
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")

	w.edit("minReadySeconds 20", func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = 20 })
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "updated replicas are still becoming available")
	w.SyncAll()
	w.Reconcile()
	w.is(rollouts.RolloutPhaseHealthy, "")
}
