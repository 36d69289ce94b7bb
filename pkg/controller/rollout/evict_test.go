// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/engine"
)

// restartingWorld has a Rollout that is being restarted, with a ReplicaSet and one pod.
func restartingWorld(t *testing.T) (*world, *corev1.Pod) {
	w := newWorld(t)
	r := testRollout("demo")
	at := metav1.Now()
	r.Spec.RestartAt = &at
	r, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Create(t.Context(), r, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rs := w.addReplicaSet(testReplicaSet(r, "abc", 1))
	controls := true
	pod, err := w.host.CoreV1().Pods(testNamespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "demo-abc-1", Labels: rs.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: rs.Name, UID: rs.UID, Controller: &controls}}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.forgetActions()
	return w, pod
}

// evictAll is an engine that evicts every pod it is shown unless an eviction was refused.
func evictAll(s engine.Snapshot) (d engine.Decision) {
	if s.EvictionRefused != "" {
		d.RequeueAfter = engine.EvictAgainAfter
		return d
	}
	for _, pod := range s.Pods {
		d.Evict = append(d.Evict, engine.PodRef{Name: pod.Name, UID: pod.UID})
	}
	return d
}

// answerEvictions has the host answer every eviction with what answer returns.
func (w *world) answerEvictions(answer func(*policyv1.Eviction) error) {
	w.host.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		return true, nil, answer(action.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction))
	})
}

func TestEvictsByUIDAndNeverDeletes(t *testing.T) {
	w, pod := restartingWorld(t)
	seen := make(chan *policyv1.Eviction, 1)
	w.answerEvictions(func(e *policyv1.Eviction) error {
		select {
		case seen <- e:
		default:
		}
		return w.stored.Delete(corev1.SchemeGroupVersion.WithResource("pods"), testNamespace, e.Name)
	})
	w.start(evictAll)
	eviction := <-seen
	if eviction.Name != pod.Name || eviction.DeleteOptions == nil || eviction.DeleteOptions.Preconditions == nil || *eviction.DeleteOptions.Preconditions.UID != pod.UID {
		t.Errorf("evicted %+v, want pod %s only while its uid is %s", eviction, pod.Name, pod.UID)
	}
	if n := w.count("delete pods"); n != 0 {
		t.Errorf("%d pods were deleted, which no budget can refuse", n)
	}
}

func TestRefusedEvictionIsShownAndTriedAgainLater(t *testing.T) {
	budget := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	budget.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget web needs 1 healthy pods and has 1 currently"}}
	for name, answer := range map[string]error{
		"a budget":      budget,
		"two budgets":   &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: "This pod has more than one PodDisruptionBudget"}},
		"a policy":      apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "demo-abc-1", errors.New("not today")),
		"a missing pod": apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "demo-abc-1"),
		"another of it": apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "demo-abc-1", errors.New("the UID is another")),
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := restartingWorld(t)
			clock := clocktesting.NewFakeClock(time.Now())
			var tries atomic.Int32
			w.answerEvictions(func(*policyv1.Eviction) error { tries.Add(1); return answer })
			var mu sync.Mutex
			told := ""
			w.start(func(s engine.Snapshot) engine.Decision {
				mu.Lock()
				defer mu.Unlock()
				if s.EvictionRefused != "" {
					told = s.EvictionRefused
				}
				return evictAll(s)
			}, func(c *Config) { c.Clock = clock })
			eventually(t, "an eviction is tried", func() bool { return tries.Load() > 0 })
			if name == "a missing pod" || name == "another of it" {
				if mu.Lock(); told != "" {
					t.Errorf("a pod that is gone counts as refused: %s", told)
				}
				mu.Unlock()
				return
			}
			eventually(t, "the engine is told why", func() bool { mu.Lock(); defer mu.Unlock(); return told != "" })
			if cause := budget.ErrStatus.Details.Causes[0].Message; name == "a budget" && !strings.Contains(told, cause) {
				t.Errorf("told %q, which does not say %q", told, cause)
			}
			w.touch("demo-abc")
			if n := tries.Load(); n != 1 {
				t.Errorf("tried %d times within the time that a refusal counts", n)
			}
			clock.Step(engine.EvictAgainAfter + time.Second)
			w.touch("demo-abc")
			eventually(t, "it is tried again", func() bool { return tries.Load() > 1 })
		})
	}
}

func TestPodsAreNotLookedAtWithoutARestart(t *testing.T) {
	w, pod := restartingWorld(t)
	r := w.rollout("demo")
	r.Status.RestartedAt = r.Spec.RestartAt
	if _, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).UpdateStatus(t.Context(), r, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var looks, pods atomic.Int32
	var changed sync.Map
	c := w.start(func(s engine.Snapshot) engine.Decision {
		looks.Add(1)
		pods.Add(int32(len(s.Pods)))
		return engine.Decision{}
	}, func(c *Config) { c.Changed = func(key types.NamespacedName) { changed.Store(key, true) } })
	eventually(t, "the Rollout is looked at", func() bool { return looks.Load() > 0 })
	changed.Clear()
	before := looks.Load()
	pod.Status.Phase = corev1.PodRunning
	if _, err := w.host.CoreV1().Pods(testNamespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readers are told of the pod", func() bool { _, told := changed.Load(testKey("demo")); return told })
	if looks.Load() != before || pods.Load() != 0 {
		t.Errorf("a change of a pod made the engine look %d times, at %d pods", looks.Load()-before, pods.Load())
	}
	snapshot, found := c.LookUp(testKey("demo"))
	if !found || len(snapshot.Pods) != 1 || len(snapshot.ReplicaSets) != 1 {
		t.Fatalf("looked up %v: %d pods, %d ReplicaSets", found, len(snapshot.Pods), len(snapshot.ReplicaSets))
	}
	if got := snapshot.Pods[0]; got.Spec.NodeName != "" || got.Spec.Containers[0].Image != "" || len(got.ManagedFields) > 0 {
		t.Errorf("the cache keeps more of pods than anybody reads: %+v", got)
	}
}

func TestStateSaysWhetherAnybodyActs(t *testing.T) {
	w := newWorld(t)
	c := w.controller(grow(1))
	if got := c.State(t.Context()); got.Acting || got.Message == "" {
		t.Errorf("with no Lease: %+v", got)
	}
	stop := w.run(c)
	eventually(t, "it leads", c.Leading)
	follower := w.controller(grow(1))
	if got := follower.State(t.Context()); !got.Acting {
		t.Errorf("while another leads: %+v", got)
	}
	stop()
	if got := follower.State(t.Context()); got.Acting || !strings.Contains(got.Message, "held by nobody") {
		t.Errorf("after the leader has given up the Lease: %+v", got)
	}
}
