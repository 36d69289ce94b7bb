// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// listening is a controller that leads, with two Rollouts in its cache, of which demo selects the
// labels of testReplicaSet and other does not. It has not looked at anything.
func listening(t *testing.T, change ...func(*Config)) *Controller {
	c := newWorld(t).controller(func(engine.Snapshot) engine.Decision { return engine.Decision{} }, change...)
	queue := c.newQueue()
	t.Cleanup(queue.ShutDown)
	c.leading.Store(&term{queue: queue})
	demo, other := testRollout("demo"), testRollout("other")
	demo.UID, other.UID = "demo", "other"
	other.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
	for _, r := range []*v1alpha1.Rollout{demo, other} {
		if err := c.rollouts.GetStore().Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// queued empties the queue.
func (c *Controller) queued() (names []string) {
	queue := c.leading.Load().queue
	for queue.Len() > 0 {
		key, _ := queue.Get()
		queue.Done(key)
		names = append(names, key.Name)
	}
	slices.Sort(names)
	return names
}

func TestWhichRolloutsAReplicaSetConcerns(t *testing.T) {
	demo := testRollout("demo")
	demo.UID = "demo"
	owned := func(change func(*appsv1.ReplicaSet)) *appsv1.ReplicaSet {
		rs := testReplicaSet(demo, "abc", 1)
		rs.ResourceVersion = "1"
		change(rs)
		return rs
	}
	unchanged := func(*appsv1.ReplicaSet) {}
	orphaned := func(rs *appsv1.ReplicaSet) { rs.OwnerReferences, rs.ResourceVersion = nil, "2" }
	for _, tc := range []struct {
		rule  string
		event func(*Controller)
		want  []string
	}{
		{"controlled by a Rollout", func(c *Controller) { c.replicaSetSeen(owned(unchanged)) }, []string{"demo"}},
		{"controlled by a Deployment", func(c *Controller) {
			c.replicaSetSeen(owned(func(rs *appsv1.ReplicaSet) {
				rs.OwnerReferences[0].Kind, rs.OwnerReferences[0].APIVersion = "Deployment", "apps/v1"
			}))
		}, nil},
		{"controlled by a Rollout of another API", func(c *Controller) {
			c.replicaSetSeen(owned(func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].APIVersion = "argoproj.io/v1alpha1" }))
		}, nil},
		{"without a controller: whoever could adopt it", func(c *Controller) { c.replicaSetSeen(owned(orphaned)) }, []string{"demo"}},
		{"without a controller and without our label", func(c *Controller) {
			c.replicaSetSeen(owned(func(rs *appsv1.ReplicaSet) { orphaned(rs); delete(rs.Labels, rollouts.PodTemplateHashLabel) }))
		}, nil},
		{"seen again as it was", func(c *Controller) { c.replicaSetChanged(owned(unchanged), owned(unchanged)) }, nil},
		{"changed", func(c *Controller) {
			c.replicaSetChanged(owned(unchanged), owned(func(rs *appsv1.ReplicaSet) { rs.ResourceVersion = "2" }))
		}, []string{"demo"}},
		{"taken over by another: the old controller must know", func(c *Controller) {
			c.replicaSetChanged(owned(unchanged), owned(func(rs *appsv1.ReplicaSet) {
				rs.ResourceVersion, rs.OwnerReferences[0].UID, rs.OwnerReferences[0].Name = "2", "other", "other"
			}))
		}, []string{"demo", "other"}},
		{"deleted", func(c *Controller) {
			c.replicaSetGone(appsinformers.DeletedReplicaSet{OptionalObj: owned(unchanged)})
		}, []string{"demo"}},
		{"deleted while nobody watched", func(c *Controller) {
			c.replicaSetGone(appsinformers.DeletedReplicaSet{OptionalObj: owned(unchanged), FinalStateUnknown: &cache.DeletedFinalStateUnknown{Key: "shop/demo-abc"}})
		}, []string{"demo"}},
		{"deleted while nobody watched, its state lost: it could be anybody's", func(c *Controller) {
			c.replicaSetGone(appsinformers.DeletedReplicaSet{FinalStateUnknown: &cache.DeletedFinalStateUnknown{Key: "shop/demo-abc"}})
		}, []string{"demo", "other"}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			c := listening(t)
			tc.event(c)
			if got := c.queued(); !slices.Equal(got, tc.want) {
				t.Errorf("looks at %v, want %v", got, tc.want)
			}
		})
	}
}

// A pod may change a thousand times before its Rollout is looked at once.
func TestWhatHappensToPodsIsOneReason(t *testing.T) {
	fakeClock := clocktesting.NewFakeClock(time.Now())
	c := listening(t, func(config *Config) { config.Clock = fakeClock })
	demo := testRollout("demo")
	demo.UID = "demo"
	demo.Spec.Strategy.Canary = &v1alpha1.CanaryStrategy{CanaryMetadata: &v1alpha1.PodTemplateMetadata{Labels: map[string]string{"role": "canary"}}}
	rs := testReplicaSet(demo, "abc", 1)
	rs.UID = "abc"
	if err := errors.Join(c.rollouts.GetStore().Update(demo), c.replicaSets.GetStore().Add(rs)); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: rs.Namespace, Name: "demo-abc-1",
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}}}

	for range 1000 {
		c.podSeen(pod)
	}
	if got := c.queued(); len(got) != 0 {
		t.Errorf("looks at %v at once", got)
	}
	fakeClock.Step(podDelay)
	eventually(t, "the Rollout is looked at", func() bool { return c.leading.Load().queue.Len() == 1 })
}

func TestAFollowerQueuesNothing(t *testing.T) {
	c := listening(t)
	queue := c.leading.Load().queue
	c.leading.Store(nil)
	c.rolloutSeen(testRollout("demo"))
	if queue.Len() != 0 {
		t.Error("a follower queued a Rollout")
	}
}

func TestRolloutsAreCountedByPhase(t *testing.T) {
	rolloutPhases.Reset()
	c := listening(t)
	phase := func(name string, phase v1alpha1.RolloutPhase) *v1alpha1.Rollout {
		r := testRollout(name)
		r.Status.Phase = phase
		return r
	}
	c.rolloutSeen(phase("a", v1alpha1.RolloutPhasePaused))
	c.rolloutSeen(phase("b", v1alpha1.RolloutPhasePaused))
	c.rolloutSeen(phase("b", v1alpha1.RolloutPhaseHealthy))
	c.rolloutSeen(phase("c", "Nonsense"))
	c.rolloutSeen(phase("d", v1alpha1.RolloutPhaseHealthy))
	c.phases.forget(cache.ObjectName{Namespace: testNamespace, Name: "d"})
	c.phases.forget(cache.ObjectName{Namespace: testNamespace, Name: "never-seen"})
	for phase, want := range map[string]float64{"Paused": 1, "Healthy": 1, "Unknown": 1} {
		if got, err := testutil.GetGaugeMetricValue(rolloutPhases.WithLabelValues(phase, "canary")); err != nil || got != want {
			t.Errorf("%s: %v (%v), want %v", phase, got, err, want)
		}
	}
	c.phases.forgetAll()
	if got, err := testutil.GetGaugeMetricValue(rolloutPhases.WithLabelValues("Paused", "canary")); err != nil || got != 0 {
		t.Errorf("without caches %v (%v) Rollouts are still counted", got, err)
	}
}

func TestConcerns(t *testing.T) {
	r := testRollout("demo")
	r.UID = "demo"
	deleting := &metav1.Time{}
	for _, tc := range []struct {
		rule   string
		change func(*appsv1.ReplicaSet)
		want   bool
	}{
		{"what it controls", func(*appsv1.ReplicaSet) {}, true},
		{"what it controls and is being deleted", func(rs *appsv1.ReplicaSet) { rs.DeletionTimestamp = deleting }, true},
		{"what it controls though relabelled", func(rs *appsv1.ReplicaSet) { rs.Labels["app"] = "x" }, true},
		{"never what another controls", func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].UID = "x" }, false},
		{"what it may adopt", func(rs *appsv1.ReplicaSet) { rs.OwnerReferences = nil }, true},
		{"not what it does not select", func(rs *appsv1.ReplicaSet) { rs.OwnerReferences, rs.Labels["app"] = nil, "x" }, false},
		{"not what is being deleted", func(rs *appsv1.ReplicaSet) { rs.OwnerReferences, rs.DeletionTimestamp = nil, deleting }, false},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			rs := testReplicaSet(r, "abc", 1)
			tc.change(rs)
			if got := concerns(r, rs); got != tc.want {
				t.Errorf("concerns = %v, want %v", got, tc.want)
			}
		})
	}
}
