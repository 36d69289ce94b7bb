// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

var replicaSetResource = schema.GroupResource{Group: "apps", Resource: "replicasets"}

// grow is an engine that scales every ReplicaSet to the size, one write for each.
func grow(size int32) func(engine.Snapshot) engine.Decision {
	var fixed atomic.Int32
	fixed.Store(size)
	return growTo(&fixed)
}

// growTo is an engine that scales every ReplicaSet to what the size is at the time.
func growTo(wanted *atomic.Int32) func(engine.Snapshot) engine.Decision {
	return func(s engine.Snapshot) (d engine.Decision) {
		size := wanted.Load()
		for _, rs := range s.ReplicaSets {
			if *rs.Spec.Replicas != size {
				d.Scale = append(d.Scale, engine.ReplicaSetChange{ReplicaSetRef: refTo(rs), Replicas: size,
					Annotations: map[string]string{rollouts.DesiredReplicasAnnotation: "3"}})
			}
		}
		return d
	}
}

func TestScaleIsOneWriteForEachReplicaSetThenNone(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	w.addReplicaSet(testReplicaSet(r, "def", 5))
	w.forgetActions()
	var looks atomic.Int32
	scripted := grow(3)
	w.start(func(s engine.Snapshot) engine.Decision {
		defer looks.Add(1)
		return scripted(s)
	})
	eventually(t, "both ReplicaSets are scaled", func() bool { return w.count("patch replicasets") == 2 })

	for _, action := range w.host.Actions() {
		patch, ok := action.(clienttesting.PatchActionImpl)
		if !ok {
			continue
		}
		var body struct {
			Metadata metav1.ObjectMeta
			Spec     struct{ Replicas, MinReadySeconds *int32 }
		}
		if err := json.Unmarshal(patch.Patch, &body); err != nil {
			t.Fatal(err)
		}
		if body.Metadata.UID == "" || body.Metadata.ResourceVersion == "" {
			t.Errorf("a host write must carry uid and resourceVersion, so that a deposed leader cannot act: %s", patch.Patch)
		}
		if body.Spec.Replicas == nil || *body.Spec.Replicas != 3 || body.Spec.MinReadySeconds == nil || body.Metadata.Annotations[rollouts.DesiredReplicasAnnotation] != "3" {
			t.Errorf("the write must carry all of the change: %s", patch.Patch)
		}
	}

	// No write in a steady state, however often it is looked at.
	w.forgetActions()
	for range 5 {
		before := looks.Load()
		w.touch("demo-abc")
		eventually(t, "the change is looked at", func() bool { return looks.Load() > before })
	}
	if got := w.count(""); got != 5 {
		t.Errorf("in a steady state the controller wrote: %v", w.writes())
	}
}

func TestLooksAgainOnlyWhenTheCachesShowItsOwnWrites(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	var looks, size atomic.Int32
	size.Store(3)
	scripted := growTo(&size)
	c := w.start(func(s engine.Snapshot) engine.Decision {
		defer looks.Add(1)
		return scripted(s)
	})
	eventually(t, "it is scaled", func() bool { return w.count("patch replicasets") == 1 })
	eventually(t, "the caches show it", func() bool { return c.replicaSetSize("demo-abc") == 3 })

	letGo := w.hold("replicasets")
	size.Store(4)
	rolloutTouched := w.rollout("demo")
	rolloutTouched.Labels = map[string]string{"touched": "once"}
	if _, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Update(t.Context(), rolloutTouched, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is scaled again", func() bool { return w.count("patch replicasets") == 2 })

	before, waits := looks.Load(), lookedInVain(t)
	c.enqueue(testKey("demo"))
	eventually(t, "it is looked at", func() bool { return lookedInVain(t) > waits })
	if got := looks.Load(); got != before {
		t.Errorf("decided %d times by caches that lack the last write", got-before)
	}
	letGo()
	eventually(t, "it goes on when they show it", func() bool { return looks.Load() > before })
	if got := w.count("patch replicasets"); got != 2 {
		t.Errorf("scaled %d times, want 2", got)
	}
}

// lookedInVain counts the looks that ended because the caches must catch up first.
func lookedInVain(t *testing.T) uint64 {
	t.Helper()
	return looks(t, outcomeWait)
}

// looks counts the looks that ended so.
func looks(t *testing.T, how outcome) uint64 {
	t.Helper()
	n, err := testutil.GetHistogramMetricCount(reconcileDuration.WithLabelValues(string(how)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestADeadWatchDoesNotStopARollout(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	fakeClock := clocktesting.NewFakeClock(time.Now())
	var wanted atomic.Int32
	wanted.Store(3)
	c := w.start(growTo(&wanted), func(c *Config) { c.Clock = fakeClock })
	eventually(t, "the caches show the first write", func() bool { return c.replicaSetSize("demo-abc") == 3 })

	defer w.hold("replicasets")()
	c.enqueue(testKey("demo"))
	for _, size := range []int32{4, 5, 6} {
		wanted.Store(size)
		eventually(t, "it is scaled by what the servers say", func() bool {
			fakeClock.Step(cachePatience)
			return w.liveSize("demo-abc") == size
		})
	}
}

func TestConflictIsMetByLookingAgain(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	var refused atomic.Int32
	w.host.PrependReactor("patch", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if refused.Add(1) <= 3 {
			return true, nil, apierrors.NewConflict(replicaSetResource, "demo-abc", errors.New("changed"))
		}
		return false, nil, nil
	})
	w.start(grow(3))
	eventually(t, "it is scaled in the end", func() bool { return w.liveSize("demo-abc") == 3 })
	if events := w.events(t); len(events) > 0 {
		t.Errorf("a conflict is no news: %v", events)
	}
}

func TestARolloutThatIsBeingDeletedAdoptsNothing(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	orphan := testReplicaSet(r, "abc", 2)
	orphan.OwnerReferences = nil
	w.addReplicaSet(orphan)
	defer w.hold("rollouts")()
	var looks atomic.Int32
	w.rollouts.PrependReactor("get", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		gone := r.DeepCopy()
		if looks.Load() > 1 {
			gone.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}
		return true, gone, nil
	})
	w.start(func(s engine.Snapshot) engine.Decision {
		looks.Add(1)
		return deploy(s)
	})
	eventually(t, "it is decided a few times", func() bool { return looks.Load() > 5 })
	if got := w.count("patch"); got != 0 {
		t.Errorf("adopted what its deletion has orphaned")
	}
}

func TestDeleteNamesTheStateThatWasSeen(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	old := w.addReplicaSet(testReplicaSet(r, "old", 0))
	w.start(func(s engine.Snapshot) (d engine.Decision) {
		for _, rs := range s.ReplicaSets {
			d.Delete = append(d.Delete, refTo(rs))
		}
		return d
	})
	eventually(t, "it is deleted", func() bool { return w.count("delete replicasets demo-old") == 1 })
	for _, action := range w.host.Actions() {
		if del, ok := action.(clienttesting.DeleteActionImpl); ok {
			p := del.DeleteOptions.Preconditions
			if p == nil || *p.UID != old.UID || *p.ResourceVersion != old.ResourceVersion || *del.DeleteOptions.PropagationPolicy != metav1.DeletePropagationBackground {
				t.Errorf("preconditions and background propagation are missing: %v", del.DeleteOptions)
			}
		}
	}
}

func TestRequeueAfter(t *testing.T) {
	w := newWorld(t)
	w.addRollout("demo")
	fakeClock := clocktesting.NewFakeClock(time.Now())
	start := fakeClock.Now()
	times := make(chan time.Duration, 100)
	w.start(func(s engine.Snapshot) engine.Decision {
		times <- s.Now.Sub(start)
		return engine.Decision{RequeueAfter: time.Hour}
	}, func(c *Config) { c.Clock = fakeClock })
	if first := <-times; first != 0 {
		t.Fatalf("first decided after %v", first)
	}
	eventually(t, "somebody waits for the clock", fakeClock.HasWaiters)
	eventually(t, "it is decided again an hour later", func() bool {
		fakeClock.Step(10 * time.Minute)
		select {
		case later := <-times:
			if later < time.Hour {
				t.Errorf("decided again after %v", later)
			}
			return true
		default:
			return false
		}
	})
}
