// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// The rows of reference sections 3.2 and 3.3 that are about blueGreen, each named after the end-to-end test it is from.

// blueGreen is a Rollout named demo with the blueGreen strategy, and Services demo-active and demo-preview.
func blueGreen(n int32, changes ...func(*rollouts.BlueGreenStrategy)) *rollouts.Rollout {
	r := rollout(n)
	r.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: "demo-active", PreviewService: "demo-preview"}}
	for _, change := range changes {
		change(r.Spec.Strategy.BlueGreen)
	}
	return r
}

func manual(b *rollouts.BlueGreenStrategy) { b.AutoPromotionEnabled = ptr.To(false) }

func promotedAfter(seconds int32) func(*rollouts.BlueGreenStrategy) {
	return func(b *rollouts.BlueGreenStrategy) { b.AutoPromotionSeconds = &seconds }
}

func previewing(count int32) func(*rollouts.BlueGreenStrategy) {
	return func(b *rollouts.BlueGreenStrategy) { b.PreviewReplicaCount = &count }
}

func keptFor(seconds int32) func(*rollouts.BlueGreenStrategy) {
	return func(b *rollouts.BlueGreenStrategy) { b.ScaleDownDelaySeconds = &seconds }
}

func limited(revisions int32) func(*rollouts.BlueGreenStrategy) {
	return func(b *rollouts.BlueGreenStrategy) { b.ScaleDownDelayRevisionLimit = &revisions }
}

func abortKeptFor(seconds int32) func(*rollouts.BlueGreenStrategy) {
	return func(b *rollouts.BlueGreenStrategy) { b.AbortScaleDownDelaySeconds = &seconds }
}

func bg(change func(*rollouts.BlueGreenStrategy)) func(*rollouts.RolloutSpec) {
	return func(spec *rollouts.RolloutSpec) {
		spec.Strategy = *spec.Strategy.DeepCopy()
		change(spec.Strategy.BlueGreen)
	}
}

// serving is a world in which the first revision is Healthy, and clients are led to it.
func serving(t *testing.T, r *rollouts.Rollout) *world {
	w := newWorld(t, r)
	w.AddService("demo-active")
	w.AddService("demo-preview")
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v1", "v1")
	return w
}

// leads checks the images of the revisions that the two Services lead to; "" is none in particular.
func (w *world) leads(active, preview string) {
	w.t.Helper()
	if a, p := w.imageOf(w.LeadsTo("demo-active")), w.imageOf(w.LeadsTo("demo-preview")); a != active || p != preview {
		w.t.Fatalf("active leads to %q and preview to %q, want %q and %q", a, p, active, preview)
	}
}

func (w *world) imageOf(hash string) string {
	if rs := w.Find(hash); rs != nil {
		return rs.Spec.Template.Spec.Containers[0].Image
	}
	return hash
}

// counts checks replicas, current, updated, ready and available pods.
func (w *world) counts(want [5]int32) {
	w.t.Helper()
	st := w.Rollout.Status
	if got := [5]int32{*w.Rollout.Spec.Replicas, st.Replicas, st.UpdatedReplicas, st.ReadyReplicas, st.AvailableReplicas}; got != want {
		w.t.Fatalf("counts %v, want %v", got, want)
	}
}

// turns lets everybody work for a time, a second after the other.
func (w *world) turns(seconds int) {
	for range seconds {
		w.work()
		w.Sleep(time.Second)
		w.SyncAll()
	}
	w.work()
}

// work lets everybody work until nothing changes any more, with the clock standing still.
func (w *world) work() {
	for range 20 {
		w.Reconcile()
		w.SyncAll()
	}
}

func TestBlueGreenUpdate(t *testing.T) {
	w := serving(t, blueGreen(3, keptFor(30)))
	w.counts([5]int32{3, 3, 3, 3, 3})
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.work()
	w.leads("v1", "v2")
	w.is(rollouts.RolloutPhaseProgressing, "active service cutover pending")
	w.turns(2)
	w.leads("v2", "v2")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.counts([5]int32{3, 6, 3, 3, 3})
	if got := w.Rollout.Status.HPAReplicas; got != 3 {
		t.Errorf("autoscalers are told of %d pods, want those of the active revision: 3", got)
	}
	w.turns(26)
	w.sizes("3 3")
	w.turns(5)
	w.sizes("0 3")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.events("NewReplicaSetCreated SwitchService SwitchService RolloutCompleted NewReplicaSetCreated SwitchService SwitchService RolloutCompleted")
}

func TestBlueGreenToCanary(t *testing.T) {
	w := serving(t, blueGreen(2))
	w.edit("canary, v2", func(spec *rollouts.RolloutSpec) {
		image("v2")(spec)
		spec.Strategy = rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{weight(50), pause("")}}}
	})
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.counts([5]int32{2, 2, 1, 2, 2})
	w.leads("", "")
	if w.Rollout.Status.BlueGreen != nil {
		t.Error("the status still speaks of blueGreen")
	}
}

func TestBlueGreenScaleDownDelay(t *testing.T) {
	w := serving(t, blueGreen(1, keptFor(86400), limited(2)))
	w.edit("image v2", image("v2"))
	w.turns(3)
	w.counts([5]int32{1, 2, 1, 1, 1})
	w.edit("image v3", image("v3"))
	w.turns(3)
	w.edit("image v4", image("v4"))
	w.turns(3)
	w.sizes("0 1 1 1")
	w.counts([5]int32{1, 3, 1, 1, 1})
	w.edit("limit 1", bg(limited(1)))
	w.work()
	w.sizes("0 0 1 1")
	w.counts([5]int32{1, 2, 1, 1, 1})
}

func TestBlueGreenExceedProgressDeadlineAbort(t *testing.T) {
	for _, abort := range []bool{false, true} {
		r := blueGreen(1, abortKeptFor(2))
		r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](1), abort
		w := serving(t, r)
		w.edit("image bad", image("bad"))
		w.turns(10)
		if w.Rollout.Status.Abort != abort {
			t.Fatalf("abort is %t, want %t", w.Rollout.Status.Abort, abort)
		}
		if abort {
			w.degraded("RolloutAborted")
			w.sizes("1 0")
			w.leads("v1", "v1")
		} else {
			w.degraded("ProgressDeadlineExceeded")
			w.sizes("1 1")
			w.leads("v1", "bad")
		}
	}
}

func TestBlueGreenScaleDownOnAbort(t *testing.T) {
	w := serving(t, blueGreen(2, manual, previewing(1), abortKeptFor(5)))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.must(w.Abort())
	w.turns(4)
	w.degraded("RolloutAborted")
	w.sizes("2 1")
	w.leads("v1", "v1")
	w.turns(2)
	w.sizes("2 0")
	w.refused(w.Promote(false), "Aborted")
	w.must(w.Retry())
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.leads("v1", "v2")
	w.sizes("2 1")
}

func TestKubectlWaitForPaused(t *testing.T) {
	w := serving(t, blueGreen(1, manual))
	w.update("v2")
	w.leads("v1", "v2")
	if got := w.condition(rollouts.RolloutPaused); got != "True" {
		t.Fatalf("Paused is %s", got)
	}
	w.must(w.Promote(false))
	if got := w.condition(rollouts.RolloutPaused); got != "False" {
		t.Fatalf("Paused is %s after a promote", got)
	}
	w.turns(1)
	w.leads("v2", "v2")
	w.is(rollouts.RolloutPhaseHealthy, "")
}

func TestKubectlWaitForCompleted(t *testing.T) {
	w := serving(t, blueGreen(1))
	w.Pods = startsAfter(10 * time.Second)
	w.edit("image v2", image("v2"))
	w.turns(5)
	if got := w.condition(rollouts.RolloutHealthy); got != "False" {
		t.Fatalf("Healthy is %s in an update", got)
	}
	w.turns(10)
	if got := w.condition(rollouts.RolloutHealthy); got != "True" {
		t.Fatalf("Healthy is %s after an update", got)
	}
	w.leads("v2", "v2")
}

func TestCompleteRolloutRestart(t *testing.T) {
	r := blueGreen(2)
	r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](15), true
	w := serving(t, r)
	w.Sleep(time.Minute)
	w.must(w.Restart())
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}

func TestBlueGreenProgressDeadlineExceededWithAndWithoutPause(t *testing.T) {
	for _, auto := range []bool{false, true} {
		r := blueGreen(2, func(b *rollouts.BlueGreenStrategy) { b.AutoPromotionEnabled = &auto })
		r.Spec.ProgressDeadlineSeconds = ptr.To[int32](5)
		w := newWorld(t, r)
		w.AddService("demo-active")
		w.AddService("demo-preview")
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
		if !auto {
			w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
			w.must(w.Promote(false))
			w.settle()
		}
		w.is(rollouts.RolloutPhaseHealthy, "")
		w.leads("v2", "v2")
	}
}

func TestBlueGreenPreviewReplicaCount(t *testing.T) {
	w := serving(t, blueGreen(2, manual, previewing(1)))
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.counts([5]int32{2, 3, 1, 2, 2})
	w.must(w.Promote(false))
	if !w.Rollout.Status.BlueGreen.ScaleUpPreviewCheckPoint {
		t.Fatal("the checkpoint is not set")
	}
	w.refused(w.Promote(false), "NothingInFlight")
	w.work()
	w.leads("v1", "v2")
	w.sizes("2 2")
	w.turns(2)
	w.leads("v2", "v2")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.counts([5]int32{2, 4, 2, 2, 2})
	if w.Rollout.Status.BlueGreen.ScaleUpPreviewCheckPoint {
		t.Error("the checkpoint outlives the update")
	}
}

func TestBlueGreenPreviewReplicaCountPromoteFull(t *testing.T) {
	r := blueGreen(3, manual, previewing(1))
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
	w := serving(t, r)
	w.update("v2")
	w.Sleep(time.Hour)
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.must(w.Promote(true))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v2", "v2")
	if w.Rollout.Status.PromoteFull {
		t.Error("promoteFull outlives the promotion")
	}
}

func TestBlueGreenPromoteFull(t *testing.T) {
	w := serving(t, blueGreen(3, manual))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.refused(w.Promote(false), "NothingInFlight") // nothing waits yet
	w.must(w.Promote(true))
	w.turns(3)
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v2", "v2")
}
