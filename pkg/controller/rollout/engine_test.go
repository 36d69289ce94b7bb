// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// createRollout stores a Rollout with the status that the server gives a new one.
func (w *world) createRollout(name string, replicas int32) *v1alpha1.Rollout {
	w.t.Helper()
	r := testRollout(name)
	r.UID, r.Generation, r.Spec.Replicas = "uid-of-demo", 1, &replicas
	r.Spec.Strategy.Canary = &v1alpha1.CanaryStrategy{}
	r.Status = v1alpha1.RolloutStatus{}
	hub := observe(r).hub
	created := engine.Created(hub, engine.Resolve(hub, &hub.Spec.Template, nil), "author")
	if err := v1alpha1.Convert_rollouts_RolloutStatus_To_v1alpha1_RolloutStatus(&created.Status, &r.Status, nil); err != nil {
		w.t.Fatal(err)
	}
	r, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Create(w.t.Context(), r, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// startPods makes all pods of a ReplicaSet available.
func (w *world) startPods(name string) {
	w.t.Helper()
	rs, err := w.host.AppsV1().ReplicaSets(testNamespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	n := *rs.Spec.Replicas
	rs.Status = appsv1.ReplicaSetStatus{Replicas: n, ReadyReplicas: n, AvailableReplicas: n, ObservedGeneration: rs.Generation}
	if _, err := w.host.AppsV1().ReplicaSets(testNamespace).UpdateStatus(w.t.Context(), rs, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestDeploysARollout(t *testing.T) {
	w := newWorld(t)
	r := w.createRollout("demo", 3)
	name := "demo-" + r.Status.CurrentPodHash
	var looks atomic.Int32
	c := w.start(func(s engine.Snapshot) engine.Decision {
		defer looks.Add(1)
		return engine.Decide(s)
	})
	eventually(t, "its ReplicaSet is created", func() bool { return w.liveSize(name) == 3 })
	w.startPods(name)
	eventually(t, "it is Healthy", func() bool { return w.rollout("demo").Status.Phase == v1alpha1.RolloutPhaseHealthy })
	if got := w.count("create replicasets"); got != 1 {
		t.Errorf("created %d ReplicaSets, want 1", got)
	}

	// In a steady state nothing is written, however often it is looked at.
	eventually(t, "the caches show it", func() bool {
		stored, _, _ := c.rollouts.GetStore().GetByKey(testKey("demo").String())
		return stored.(*v1alpha1.Rollout).ResourceVersion == w.rollout("demo").ResourceVersion
	})
	w.forgetActions()
	for range 3 {
		before := looks.Load()
		c.enqueue(testKey("demo"))
		eventually(t, "it is looked at", func() bool { return looks.Load() > before })
	}
	if got := w.writes(); len(got) > 0 {
		t.Errorf("wrote in a steady state: %v", got)
	}
}

func TestARefusedDeploymentIsSteadyAndExceedsItsDeadline(t *testing.T) {
	w := newWorld(t)
	w.quotaExceeded()
	w.createRollout("demo", 3)
	fakeClock := clocktesting.NewFakeClock(time.Now())
	w.start(engine.Decide, func(c *Config) { c.Clock = fakeClock })
	status := func() v1alpha1.RolloutStatus { return w.rollout("demo").Status }
	eventually(t, "the Rollout shows why", func() bool { return strings.Contains(status().Message, "exceeded quota: two") })
	for tries := 5; tries < 15; tries++ {
		eventually(t, "it is tried again", func() bool {
			fakeClock.Step(time.Second)
			return w.count("create replicasets") >= tries
		})
	}
	if got := w.count("update rollouts/status"); got > 2 {
		t.Errorf("%d writes of the status for one refusal that goes on", got)
	}
	eventually(t, "it is Degraded after the progress deadline", func() bool {
		fakeClock.Step(time.Minute)
		return status().Phase == v1alpha1.RolloutPhaseDegraded
	})
	if !strings.Contains(status().Message, "exceeded quota: two") || string(status().Conditions[len(status().Conditions)-1].Type) != string(rollouts.RolloutReplicaFailure) {
		t.Errorf("it must still show why: %+v", status())
	}
}

func TestALostAnswerIsLookedUp(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	var lost atomic.Bool
	w.host.PrependReactor("patch", "replicasets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if lost.Swap(true) {
			return false, nil, nil
		}
		if _, _, err := clienttesting.ObjectReaction(w.stored)(action); err != nil {
			t.Errorf("the write is not made: %v", err)
		}
		return true, nil, errors.New("connection reset by peer")
	})
	var letGo func()
	var seen atomic.Int32
	scripted := grow(3)
	w.start(func(s engine.Snapshot) engine.Decision {
		if letGo == nil {
			letGo = w.hold("replicasets")
		}
		seen.Store(*s.ReplicaSets[0].Spec.Replicas)
		return scripted(s)
	})
	eventually(t, "it is seen, though the caches do not show it", func() bool { return seen.Load() == 3 })
	if got := w.count("patch replicasets"); got != 1 {
		t.Errorf("scaled %d times, want once", got)
	}
}

func TestAPanicOverOneRolloutStopsNoOther(t *testing.T) {
	w := newWorld(t)
	w.addRollout("bad")
	good := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(good, "abc", 0))
	scripted := grow(3)
	w.start(func(s engine.Snapshot) engine.Decision {
		if s.Rollout.Name == "bad" {
			panic("a rule that nobody thought of")
		}
		return scripted(s)
	}, func(c *Config) { c.Workers = 1 })
	eventually(t, "the other one is scaled", func() bool { return w.liveSize("demo-abc") == 3 })
}
