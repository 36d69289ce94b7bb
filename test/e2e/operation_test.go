// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// broken makes the next version one that no node takes.
func broken(r *v1alpha1.Rollout) {
	r.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such-node"}
}

// An update that makes no progress is Degraded after its deadline, and stays where it is.
// Reference: 3.2 TestRolloutGoodToBadUpdate
func TestProgressDeadline(t *testing.T) {
	s := together(t)
	r := newRollout("stuck", 4, weight(25), pause())
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](3)
	r = s.deploy(r)
	s.observe(r, cluster.Bounds{MaxPods: 5, MinAvailable: 3})
	s.change(r.Name, broken)
	got := s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.contains(got.Status.Message, "ProgressDeadlineExceeded")
	if got.Status.Abort || got.Status.UpdatedReplicas == 0 {
		t.Errorf("abort %v with %d pods of the new version: it was not asked to abort", got.Status.Abort, got.Status.UpdatedReplicas)
	}
	s.kubectl("wait", resource, r.Name, "--for=condition=Stalled", "--timeout=10s")
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Template.Spec.NodeSelector = nil })
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
}

// With progressDeadlineAbort it goes back to the stable version by itself.
func TestProgressDeadlineAbort(t *testing.T) {
	s := together(t)
	r := newRollout("returned", 4, weight(25), pause())
	r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](3), true
	r = s.deploy(r)
	observer := s.observe(r, cluster.Bounds{MaxPods: 5, MinAvailable: 3})
	s.change(r.Name, broken)
	got := s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{"one": 4}})
	if !got.Status.Abort {
		t.Error("it is not aborted")
	}
	if _, err := observer.Tally(); err != nil {
		t.Error(err)
	}
}

// What happens to a Rollout is told as events on it.
func TestEvents(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("told")
	s.must(s.perform(r.Name, "abort"))
	s.eventually("the events of an update", func(ctx context.Context) bool {
		events, err := s.Host.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + r.Name})
		s.must(err)
		reasons := map[string]bool{}
		for i := range events.Items {
			reasons[events.Items[i].Reason] = true
		}
		return reasons["NewReplicaSetCreated"] && reasons["RolloutPaused"] && reasons["RolloutAborted"]
	})
	s.contains(s.kubectl("describe", resource, r.Name), "RolloutPaused", "RolloutAborted")
}

// In a steady state nothing is written: neither to the Rollout nor to its ReplicaSets.
func TestSteadyState(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("quiet")
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Status.AvailableReplicas == 2, "2 available replicas")
	})
	rollout, sets := s.get(r.Name), s.sets(r)
	versions := map[string]string{}
	for _, set := range sets {
		versions[set.Name] = set.ResourceVersion
	}
	ctx, cancel := context.WithTimeout(s.ctx(), 5*time.Second)
	defer cancel()
	_, err := cluster.Await(ctx, s.Rollout(s.namespace, r.Name), func(found []*v1alpha1.Rollout) string {
		return unless(len(found) != 1 || found[0].ResourceVersion != rollout.ResourceVersion, "a write")
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the Rollout was written in a steady state: %v", err)
	}
	_, err = cluster.Await(s.ctx(), s.ReplicaSets(s.namespace, r.Status.Selector), func(found []*appsv1.ReplicaSet) string {
		for _, set := range found {
			if set.ResourceVersion != versions[set.Name] {
				t.Errorf("ReplicaSet %s was written in a steady state", set.Name)
			}
		}
		return ""
	})
	s.must(err)
}

// The server tells how it is: health to everybody, metrics to whom the cluster lets read them.
// Reference: 3.2 TestControllerMetrics
func TestHealthAndMetrics(t *testing.T) {
	s := together(t)
	s.pausedUpdate("measured")
	component, err := s.Component(cluster.Server)
	s.must(err)
	for _, path := range []string{"/livez", "/readyz"} {
		if got := s.ask(component.URL, http.MethodGet, path, ""); got.code != http.StatusOK {
			t.Errorf("%s is answered with %d: %s", path, got.code, got.body)
		}
	}
	got := s.ask(component.URL, http.MethodGet, "/metrics", "")
	s.contains(got.body, "workqueue_depth", `sluice_rollouts{phase="Paused",strategy="canary"}`, "sluice_reconcile_duration_seconds", "sluice_leader 1")
}

// A pod that is deleted from outside is replaced, in mid-update too.
func TestPodsAreReplaced(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("replaced")
	pods, err := s.Pods(s.namespace, r.Status.Selector).Now(s.ctx())
	s.must(err)
	for _, pod := range pods {
		s.must(s.Host.CoreV1().Pods(s.namespace).Delete(s.ctx(), pod.Name, metav1.DeleteOptions{}))
	}
	_, err = cluster.Await(s.ctx(), s.Pods(s.namespace, r.Status.Selector), func(now []*corev1.Pod) string {
		for _, pod := range now {
			for _, old := range pods {
				if pod.UID == old.UID {
					return "the old pods are still there"
				}
			}
		}
		counted := cluster.PodsByTag(now)
		return unless(counted["one"] == 1 && counted["two"] == 1, "one pod of each version")
	})
	s.must(err)
	s.atPause(r.Name, 1)
}
