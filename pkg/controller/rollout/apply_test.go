// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
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

// quotaExceeded lets the host refuse to create ReplicaSets as long as the returned value is true.
func (w *world) quotaExceeded() *atomic.Bool {
	var exceeded atomic.Bool
	exceeded.Store(true)
	w.host.PrependReactor("create", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if exceeded.Load() {
			return true, nil, apierrors.NewForbidden(replicaSetResource, "demo-abc", errors.New("exceeded quota: two"))
		}
		return false, nil, nil
	})
	return &exceeded
}

// deploy is an engine that creates the ReplicaSet of the current hash if there is none.
func deploy(s engine.Snapshot) (d engine.Decision) {
	served := testRollout(s.Rollout.Name)
	served.UID, served.Namespace = s.Rollout.UID, s.Rollout.Namespace
	wanted := testReplicaSet(served, s.Rollout.Status.CurrentPodHash, 2)
	for _, rs := range s.ReplicaSets {
		if rs.Name != wanted.Name || !engine.TemplatesEqual(&rs.Spec.Template, &wanted.Spec.Template) {
			continue
		}
		if metav1.GetControllerOf(rs) == nil {
			d.Adopt = append(d.Adopt, refTo(rs))
		}
		if slices.ContainsFunc(s.Rollout.Status.Conditions, isReplicaFailure) {
			d.Status = s.Rollout.Status.DeepCopy()
			d.Status.Conditions, d.Status.Message = nil, ""
		}
		return d
	}
	d.Create = wanted
	return d
}

func TestARefusalIsShownOnceAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	exceeded := w.quotaExceeded()
	w.addRollout("demo")
	w.forgetActions()
	w.start(deploy)
	eventually(t, "it was tried five times", func() bool { return w.count("create replicasets") >= 5 })
	if got := w.count("update rollouts/status"); got != 1 {
		t.Errorf("the same refusal was written %d times, want once", got)
	}
	status := w.rollout("demo").Status
	if !strings.Contains(status.Message, `ReplicaSet "demo-abc" cannot be created`) || !strings.Contains(status.Message, "exceeded quota: two") {
		t.Errorf("the Rollout must show what the host says, but its message is %q", status.Message)
	}
	if len(status.Conditions) != 1 || string(status.Conditions[0].Type) != string(rollouts.RolloutReplicaFailure) || status.Conditions[0].Reason != "ReplicaSetCreateError" {
		t.Errorf("want the condition ReplicaFailure, got %v", status.Conditions)
	}
	eventually(t, "an event says so", func() bool { return len(w.events(t)) == 1 })

	exceeded.Store(false)
	eventually(t, "it is created when it may be", func() bool { return w.liveSize("demo-abc") == 2 })
	eventually(t, "the condition is gone", func() bool { return len(w.rollout("demo").Status.Conditions) == 0 })
}

func TestNoReplicaSetIsCreatedBeforeTheStoreIsMarked(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	var marks, failing atomic.Int32
	var wrong atomic.Bool
	w.start(deploy, func(c *Config) {
		c.EnsureMirrored = func(_ context.Context, version uint64) error {
			if formatted := r.ResourceVersion; formatted != itoa(version) || w.count("create replicasets") > 0 {
				wrong.Store(true)
			}
			if marks.Add(1) <= 3 {
				failing.Add(1)
				return errors.New("the host does not answer")
			}
			return nil
		}
	})
	eventually(t, "it is created", func() bool { return w.count("create replicasets") == 1 })
	if failing.Load() != 3 || wrong.Load() {
		t.Errorf("the mark must cover the Rollout's resourceVersion and come before the ReplicaSet")
	}
}

func TestTheNameOfTheNewReplicaSetIsTaken(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		change func(*appsv1.ReplicaSet)
		// collides is true if another name must be chosen.
		collides bool
		// adopted is true if the one that is there must become ours.
		adopted bool
	}{{
		rule:   "ours, created by a request whose answer was lost: it is the one",
		change: func(*appsv1.ReplicaSet) {},
	}, {
		rule:    "without a controller, of the same template: it is adopted",
		change:  func(rs *appsv1.ReplicaSet) { rs.OwnerReferences = nil },
		adopted: true,
	}, {
		rule:     "controlled by another: it is left alone",
		change:   func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].UID = "someone-else" },
		collides: true,
	}, {
		rule: "without our label, which the caches never show: it is left alone",
		change: func(rs *appsv1.ReplicaSet) {
			rs.OwnerReferences = nil
			delete(rs.Labels, rollouts.PodTemplateHashLabel)
		},
		collides: true,
	}, {
		rule:     "ours, of another template: it is left alone",
		change:   func(rs *appsv1.ReplicaSet) { rs.Spec.Template.Spec.Containers[0].Image = "web:0" },
		collides: true,
	}} {
		t.Run(tc.rule, func(t *testing.T) {
			w := newWorld(t)
			r := w.addRollout("demo")
			existing := testReplicaSet(r, "abc", 2)
			tc.change(existing)
			var looks atomic.Int32
			w.start(func(s engine.Snapshot) engine.Decision {
				// It appears after the servers were read.
				if looks.Add(1) == 2 {
					w.addReplicaSet(existing)
				}
				return deploy(s)
			})
			wanted := "demo-abc"
			if tc.collides {
				eventually(t, "another hash is chosen", func() bool { return w.rollout("demo").Status.CurrentPodHash != "abc" })
				wanted = "demo-" + w.rollout("demo").Status.CurrentPodHash
			}
			eventually(t, "the Rollout has its ReplicaSet", func() bool {
				rs, err := w.host.AppsV1().ReplicaSets(testNamespace).Get(t.Context(), wanted, metav1.GetOptions{})
				return err == nil && metav1.IsControlledBy(rs, r)
			})
			eventually(t, "the name is tried, after the test took it", func() bool { return w.count("create replicasets demo-abc") == 2 })
			if patched := w.count("patch replicasets") > 0; patched != tc.adopted {
				t.Errorf("adopted: %v, want %v", patched, tc.adopted)
			}
		})
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
