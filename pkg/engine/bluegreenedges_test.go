// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestBlueGreenTimedPromotion: it ends by itself, never early, and a promote ends it at once.
func TestBlueGreenTimedPromotion(t *testing.T) {
	for _, promote := range []bool{false, true} {
		w := serving(t, blueGreen(2, promotedAfter(20)))
		w.edit("image v2", image("v2"))
		w.Reconcile()
		w.SyncAll()
		w.waitFor(rollouts.RolloutPhasePaused, "BlueGreenPause")
		began := w.Rollout.Status.PauseConditions[0].StartTime.Time
		w.leads("v1", "v2")
		if promote {
			w.must(w.Promote(false))
			w.work()
			w.leads("v2", "v2")
			continue
		}
		w.Sleep(began.Add(20*time.Second - time.Microsecond).Sub(w.Now()))
		w.work()
		w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
		w.Sleep(time.Microsecond)
		w.work()
		w.leads("v2", "v2")
		w.is(rollouts.RolloutPhaseHealthy, "")
	}
}

// TestBlueGreenWaitsForItsService: missing, or another Rollout's, it is never taken for switched, and it heals.
func TestBlueGreenWaitsForItsService(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(*world)
		message string
	}{
		"missing":            {func(w *world) { w.RemoveService("demo-active") }, "does not exist in namespace default"},
		"managed by another": {func(w *world) { w.GiveService("demo-active", "other") }, `which Rollout "other" manages`},
	} {
		t.Run(name, func(t *testing.T) {
			w := serving(t, blueGreen(2, keptFor(0)))
			test.happens(w)
			w.work()
			w.notHealthy(test.message)
			w.edit("image v2", image("v2"))
			w.turns(120)
			w.sizes("2 2")
			w.AddService("demo-active")
			w.settle()
			w.leads("v2", "v2")
			w.sizes("0 2")
			w.is(rollouts.RolloutPhaseHealthy, "")
		})
	}
}

// notHealthy checks that the Rollout is not, and why.
func (w *world) notHealthy(message string) {
	w.t.Helper()
	if st := w.Rollout.Status; st.Phase == rollouts.RolloutPhaseHealthy || !strings.Contains(st.Message, message) {
		w.t.Fatalf("%s %q, want %q in it", st.Phase, st.Message, message)
	}
}

func TestBlueGreenFirstDeploymentWaitsForItsService(t *testing.T) {
	w := newWorld(t, blueGreen(2, manual))
	w.turns(5)
	w.pods("2")
	w.notHealthy("does not exist in namespace default")
	w.refused(w.Abort(), "NoStable")
	w.AddService("demo-active")
	w.turns(5)
	w.notHealthy(`names Service "demo-preview", which does not exist`)
	w.AddService("demo-preview")
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v1", "v1")
}

// TestBlueGreenDeadlineDoesNotCountWhilePodsAreKept, nor in a pause.
func TestBlueGreenDeadlineDoesNotCountWhilePodsAreKept(t *testing.T) {
	r := blueGreen(2, keptFor(600))
	r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](5), true
	w := serving(t, r)
	w.edit("image v2", image("v2"))
	for range 700 {
		w.turns(1)
		if w.Rollout.Status.Phase == rollouts.RolloutPhaseDegraded {
			t.Fatal("Degraded while old pods are kept")
		}
	}
	w.sizes("0 2")
}

// TestBlueGreenProgressIsEachPodOfThePreview: pods that come up one after the other are progress.
func TestBlueGreenProgressIsEachPodOfThePreview(t *testing.T) {
	r := blueGreen(1)
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](5)
	w := serving(t, r)
	w.edit("image v2, 4 replicas", func(spec *rollouts.RolloutSpec) { image("v2")(spec); scale(4)(spec) })
	w.turns(1)
	w.Pods = startsAfter(time.Hour)
	w.turns(1)
	for range 3 {
		current := w.Find(w.Rollout.Status.CurrentPodHash)
		for _, p := range w.PodsOf(current) {
			if !p.Ready {
				p.Ready, p.Since = true, w.Now()
				break
			}
		}
		w.turns(4)
		if w.Rollout.Status.Phase == rollouts.RolloutPhaseDegraded {
			t.Fatal("Degraded though a pod more was available each 4 seconds")
		}
	}
}

func TestBlueGreenAbort(t *testing.T) {
	w := serving(t, blueGreen(2, manual, abortKeptFor(0)))
	w.update("v2")
	w.must(w.Abort())
	w.settle()
	w.sizes("2 2") // kept until the next change
	w.leads("v1", "v1")
	w.Sleep(time.Hour)
	w.settle()
	w.sizes("2 2")
	w.must(w.Promote(true)) // overrides the abort
	w.turns(1)
	w.leads("v2", "v2")
}

func TestBlueGreenAbortOfASwitchThatWasNotSeen(t *testing.T) {
	w := serving(t, blueGreen(2))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	for w.imageOf(w.LeadsTo("demo-active")) != "v2" {
		w.Reconcile()
		w.SyncAll()
		if w.imageOf(w.LeadsTo("demo-active")) == "v1" {
			w.Sleep(time.Second)
			w.SyncAll()
		}
	}
	w.must(w.Abort())
	w.turns(40)
	w.degraded("RolloutAborted")
	w.leads("v1", "v1")
	w.sizes("2 0")
	w.pods("2 0")
}

// TestBlueGreenAbortWhilePausedByHand acts: the Services, and the pods.
func TestBlueGreenAbortWhilePausedByHand(t *testing.T) {
	w := serving(t, blueGreen(2, manual))
	w.update("v2")
	w.must(w.Pause())
	w.settle()
	w.leads("v1", "v2")
	w.must(w.Abort())
	w.settle()
	w.leads("v1", "v1")
	w.sizes("2 0")
}

// TestBlueGreenPausedByHand: nothing is promoted nor switched, and replicas are followed.
func TestBlueGreenPausedByHand(t *testing.T) {
	w := serving(t, blueGreen(2, promotedAfter(10)))
	w.update("v2")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.edit("image v3", image("v3"))
	w.turns(3)
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.must(w.Pause())
	w.edit("replicas 3", scale(3))
	w.turns(60)
	w.is(rollouts.RolloutPhasePaused, "manually paused")
	w.leads("v2", "v3")
	w.sizes("0 3 3")
	w.must(w.Resume())
	w.turns(1)
	w.leads("v3", "v3")
	w.is(rollouts.RolloutPhaseHealthy, "")
}

// TestBlueGreenPausedByHandStartsNothing: a new template waits for the end of the pause, and for a return the pods
// that are kept stay.
func TestBlueGreenPausedByHandStartsNothing(t *testing.T) {
	w := serving(t, blueGreen(2, manual, previewing(1), keptFor(60)))
	w.update("v2")
	w.must(w.Promote(false))
	w.turns(3)
	w.must(w.Pause())
	w.edit("image v1", image("v1"))
	w.turns(100)
	w.sizes("2 2")
	w.leads("v2", "v2")
	w.must(w.Resume())
	w.work()
	w.leads("v1", "v1")
}

func TestBlueGreenFastRollback(t *testing.T) {
	w := serving(t, blueGreen(3, manual, keptFor(60)))
	w.update("v2")
	w.must(w.Promote(false))
	w.turns(10)
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.edit("image v1", image("v1"))
	w.work() // the clock stands still: no pod is made
	w.leads("v1", "v1")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.turns(50)
	w.sizes("3 3") // the time of the second one is kept too
	w.turns(12)
	w.sizes("3 0")
	// Then it is an update as any.
	w.update("v2")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.leads("v1", "v2")
	// And the way back to the stable revision never waits.
	w.update("v1")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v1", "v1")
	w.sizes("3 0")
}

// TestBlueGreenReplacedInMidUpdate: the second serves nobody and goes at once, the first stays active, and there are
// never more than twice as many pods.
func TestBlueGreenReplacedInMidUpdate(t *testing.T) {
	w := serving(t, blueGreen(3, manual))
	w.update("v2")
	w.sizes("3 3")
	w.edit("image v3", image("v3"))
	for range 10 {
		w.Reconcile()
		total := 0
		for _, rs := range w.ReplicaSets() {
			total += max(int(*rs.Spec.Replicas), len(w.PodsOf(rs)))
		}
		if total > 6 {
			t.Fatalf("%d pods for 3 replicas", total)
		}
		w.SyncAll()
	}
	w.sizes("3 0 3")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.leads("v1", "v3")
	w.must(w.Abort())
	w.settle()
	w.sizes("3 0 0")
}

// TestBlueGreenPodsThatAreOnTheirWayTakeRoom: the status of a ReplicaSet may have seen its size before it counts a pod.
func TestBlueGreenPodsThatAreOnTheirWayTakeRoom(t *testing.T) {
	w := serving(t, blueGreen(2, manual))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.SyncEarly(w.ReplicaSets()[1])
	w.edit("image v3", image("v3"))
	w.Reconcile()
	w.sizes("2 0 0")
	w.settle()
	w.sizes("2 0 2")
}

func TestBlueGreenScaling(t *testing.T) {
	w := serving(t, blueGreen(2, manual))
	w.update("v2")
	w.edit("replicas 5", scale(5))
	w.settle()
	w.pods("5 5")
	if got := w.Rollout.Status.HPAReplicas; got != 5 {
		t.Errorf("autoscalers are told of %d pods, want 5", got)
	}
	w.edit("replicas 0", scale(0))
	w.settle()
	w.pods("0 0")
	w.leads("v1", "v2")
	w.edit("replicas 3", scale(3))
	w.settle()
	w.pods("3 3")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.must(w.Promote(false))
	w.settle()
	w.pods("0 3")
	w.edit("replicas 0", scale(0))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.update("v3")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause") // at 0 replicas too
	w.must(w.Promote(false))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v3", "v3")
}

func TestBlueGreenScalingWithPreviewReplicaCount(t *testing.T) {
	w := serving(t, blueGreen(2, manual, previewing(1)))
	w.update("v2")
	w.edit("replicas 5", scale(5))
	w.settle()
	w.pods("5 1")
	w.edit("previewReplicaCount 9", bg(previewing(9)))
	w.settle()
	w.pods("5 5")
}

// TestBlueGreenAvailability: pods that are kept do not make up for those of the active revision.
func TestBlueGreenAvailability(t *testing.T) {
	w := serving(t, blueGreen(2, keptFor(600)))
	w.edit("image v2", image("v2"))
	w.turns(3)
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.Disturb(w.Find(w.Rollout.Status.CurrentPodHash), 0)
	w.SyncAll()
	w.Reconcile()
	w.is(rollouts.RolloutPhaseProgressing, "updated replicas are still becoming available")
	if got := w.condition(rollouts.RolloutAvailable); got != "False" {
		t.Errorf("Available is %s", got)
	}
	w.leads("v2", "v2")
}

// TestBlueGreenMinReadySeconds: pods that were not ready for as long as is asked for now get no clients.
func TestBlueGreenMinReadySeconds(t *testing.T) {
	w := serving(t, blueGreen(2, manual))
	w.update("v2")
	w.edit("minReadySeconds 3600", func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = 3600 })
	w.must(promoteNow(w))
	w.turns(60)
	w.leads("v1", "v2")
	w.turns(3600)
	w.leads("v2", "v2")
}

// promoteNow promotes once the last edit is observed.
func promoteNow(w *world) error {
	w.Reconcile()
	return w.Promote(false)
}

// TestBlueGreenRetryOfASwitchThatWasNotSeen: clients are led back before pods are taken from where they are.
func TestBlueGreenRetryOfASwitchThatWasNotSeen(t *testing.T) {
	w := serving(t, blueGreen(3, previewing(1)))
	w.edit("image v2", image("v2"))
	for w.imageOf(w.LeadsTo("demo-active")) != "v2" {
		if !w.Turn() {
			t.Fatal("clients are never led to the new revision")
		}
	}
	w.must(w.Abort())
	w.must(w.Retry())
	w.edit("by hand", bg(manual))
	w.Reconcile()
	w.sizes("3 3")
	w.leads("v1", "v2")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	w.sizes("3 1")
}
