// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// gone waits until there are no such objects any more.
func gone[T metav1.Object](s *scenario, source cluster.Source[T]) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), source, func(left []T) string {
		return unless(len(left) == 0, fmt.Sprintf("none, there are %d", len(left)))
	})
	s.must(err)
}

// The host's garbage collector deletes the ReplicaSets and pods of a Rollout that is deleted.
func TestDeleteInTheBackground(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("background", 2))
	s.kubectl("delete", resource, r.Name)
	gone(s, s.Rollout(s.namespace, r.Name))
	gone(s, s.ReplicaSets(s.namespace, r.Status.Selector))
	gone(s, s.Pods(s.namespace, r.Status.Selector))
}

// In the foreground the Rollout goes after its ReplicaSets.
func TestDeleteInTheForeground(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("foreground", 2))
	sets := s.sets(r)
	_, err := s.Host.AppsV1().ReplicaSets(s.namespace).Patch(s.ctx(), sets[0].Name, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`), metav1.PatchOptions{})
	s.must(err)
	s.kubectl("delete", resource, r.Name, "--cascade=foreground", "--wait=false")
	_, err = cluster.Await(s.ctx(), s.ReplicaSets(s.namespace, r.Status.Selector), func(sets []*appsv1.ReplicaSet) string {
		return unless(len(sets) == 1 && sets[0].DeletionTimestamp != nil, "a ReplicaSet that is being deleted")
	})
	s.must(err)
	waiting := s.get(r.Name)
	if waiting.DeletionTimestamp == nil || !slices.Contains(waiting.Finalizers, metav1.FinalizerDeleteDependents) {
		t.Errorf("the Rollout does not wait for its ReplicaSet: deletion %v, finalizers %v", waiting.DeletionTimestamp, waiting.Finalizers)
	}
	_, err = s.Host.AppsV1().ReplicaSets(s.namespace).Patch(s.ctx(), sets[0].Name, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	s.must(err)
	gone(s, s.Rollout(s.namespace, r.Name))
	gone(s, s.ReplicaSets(s.namespace, r.Status.Selector))
}

// Orphaned ReplicaSets keep their pods, and the same Rollout made again adopts them without a restart.
func TestDeleteOrphansAndAdoptAgain(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("orphan", 3))
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	observer := s.observe(r, cluster.Bounds{MaxPods: 4, MinAvailable: 3})
	s.kubectl("delete", resource, r.Name, "--cascade=orphan")
	gone(s, s.Rollout(s.namespace, r.Name))
	for _, set := range s.sets(r) {
		if len(set.OwnerReferences) > 0 {
			t.Errorf("ReplicaSet %s still has an owner: %v", set.Name, set.OwnerReferences)
		}
	}
	again := newRollout("orphan", 3)
	again.Spec.Template.Spec.Containers[0].Image = image("two")
	again = s.deploy(again)
	for _, set := range s.sets(r) {
		if owner := metav1.GetControllerOf(set); owner == nil || owner.UID != again.UID {
			t.Errorf("ReplicaSet %s is not adopted: %v", set.Name, set.OwnerReferences)
		}
	}
	s.pods(again, map[string]int{"two": 3})
	if tally, err := observer.Tally(); err != nil || len(tally.Gone) > 0 {
		t.Errorf("pods that are gone: %v; %v", tally.Gone, err)
	}
}

// A namespace that is deleted takes its Rollouts along.
func TestNamespaceDeletion(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("doomed", 2))
	s.must(s.Host.CoreV1().Namespaces().Delete(s.ctx(), s.namespace, metav1.DeleteOptions{}))
	gone(s, s.Namespace(s.namespace))
	gone(s, s.Rollout(s.namespace, r.Name))
	_, err := s.rollouts().Create(s.ctx(), newRollout("late", 1), metav1.CreateOptions{})
	s.refused(err, 404, s.namespace)
}

// revisionHistoryLimit keeps the newest old ReplicaSets without pods.
func TestHistoryLimit(t *testing.T) {
	s := together(t)
	r := newRollout("history", 1)
	limit := int32(1)
	r.Spec.RevisionHistoryLimit = &limit
	r = s.deploy(r)
	for _, tag := range []string{"two", "three", "four"} {
		s.setTag(r.Name, tag)
		s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	}
	_, err := cluster.Await(s.ctx(), s.ReplicaSets(s.namespace, r.Status.Selector), func(sets []*appsv1.ReplicaSet) string {
		var tags []string
		for _, set := range sets {
			tags = append(tags, cluster.Tag(&set.Spec.Template.Spec))
		}
		slices.Sort(tags)
		return unless(slices.Equal(tags, []string{"four", "three"}), fmt.Sprintf("four and three, there are %v", tags))
	})
	s.must(err)
}

// A Rollout may get a generated name; that of its ReplicaSets begins with it.
func TestGeneratedName(t *testing.T) {
	s := together(t)
	r := newRollout("", 1)
	r.GenerateName = "generated-"
	r.Spec.Selector.MatchLabels["app"], r.Spec.Template.Labels["app"] = "generated", "generated"
	created := s.create(r)
	s.awaitPhase(created.Name, v1alpha1.RolloutPhaseHealthy)
	if sets := s.sets(s.get(created.Name)); len(sets) != 1 || sets[0].Name != created.Name+"-"+s.get(created.Name).Status.CurrentPodHash {
		t.Errorf("the ReplicaSets of %s are %v", created.Name, sets)
	}
}
