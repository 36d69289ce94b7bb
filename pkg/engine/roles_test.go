// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// TestCreatedReplicaSet is what the ReplicaSet of a revision carries.
func TestCreatedReplicaSet(t *testing.T) {
	r := rollout(3)
	r.Spec.MinReadySeconds = 5
	w := newWorld(t, r)
	rs := engine.Decide(w.Snapshot()).Create
	hash := w.Rollout.Status.CurrentPodHash
	if rs.Name != "demo-"+hash || rs.Namespace != "default" || *rs.Spec.Replicas != 3 || rs.Spec.MinReadySeconds != 5 {
		t.Errorf("%s/%s with %d pods, minReadySeconds %d", rs.Namespace, rs.Name, *rs.Spec.Replicas, rs.Spec.MinReadySeconds)
	}
	for what, labels := range map[string]map[string]string{"labels": rs.Labels, "selector": rs.Spec.Selector.MatchLabels, "pods": rs.Spec.Template.Labels} {
		if labels["app"] != "demo" || labels[rollouts.PodTemplateHashLabel] != hash {
			t.Errorf("%s %v", what, labels)
		}
	}
	if rs.Annotations[rollouts.RevisionAnnotation] != "1" || rs.Annotations[rollouts.DesiredReplicasAnnotation] != "3" {
		t.Errorf("annotations %v", rs.Annotations)
	}
	want := metav1.OwnerReference{
		APIVersion: "sluice.dev/v1alpha1", Kind: "Rollout", Name: "demo", UID: w.Rollout.UID, Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}
	if owner := metav1.GetControllerOf(rs); owner == nil || owner.String() != want.String() {
		t.Errorf("owner %v", owner)
	}
	if len(w.Rollout.Spec.Template.Labels) != 1 || len(w.Rollout.Spec.Selector.MatchLabels) != 1 {
		t.Error("the Rollout itself was changed")
	}
}

// TestDeletedRolloutIsLeftAlone: its pods are for the garbage collector.
func TestDeletedRolloutIsLeftAlone(t *testing.T) {
	w := newWorld(t, rollout(3))
	s := w.Snapshot()
	s.Rollout = s.Rollout.DeepCopy()
	s.Rollout.DeletionTimestamp = ptr.To(metav1.Now())
	if d := engine.Decide(s); writes(d) || d.RequeueAfter != 0 {
		t.Errorf("decided %+v", d)
	}
}

// TestHeld: "an owned ReplicaSet with a higher revision than the Rollout's: nothing scaled, created or
// deleted", until the newest copy of the store is back.
func TestHeld(t *testing.T) {
	w := deployed(t, rollout(3, weight(20)))
	old := w.Rollout.DeepCopy()
	w.update("v2")
	w.update("v3")
	now := w.Rollout

	old.Spec.Replicas = ptr.To[int32](9)
	w.Cluster.Rollout = old
	d := w.Reconcile()
	if len(d.Scale) > 0 || d.Create != nil || len(d.Delete) > 0 {
		t.Errorf("a held Rollout was acted on: %+v", d)
	}
	w.degraded("NewerRevisionFound")
	if w.condition(rollouts.RolloutHeld) != "True" || w.condition(rollouts.RolloutStalled) != "True" {
		t.Errorf("conditions %v", w.Rollout.Status.Conditions)
	}
	if d := w.Reconcile(); writes(d) {
		t.Errorf("and again: %+v", d)
	}

	restored := now.DeepCopy()
	restored.ResourceVersion = w.Rollout.ResourceVersion
	restored.Status.Conditions = w.Rollout.Status.Conditions
	w.Cluster.Rollout = restored
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	if w.condition(rollouts.RolloutHeld) != "" {
		t.Error("still held")
	}
}

// TestAdoption: ReplicaSets without a controller are adopted; a higher revision of theirs counts first.
func TestAdoption(t *testing.T) {
	w := deployed(t, rollout(2))
	orphan := replicaSet("orphan", "v9", 5, "")
	orphan.Spec.Replicas = ptr.To[int32](2)
	w.Place(orphan)
	w.SyncAll()

	first := w.Reconcile()
	if len(first.Adopt) > 0 || first.Status == nil || first.Status.Revision != 6 {
		t.Fatalf("first raises the revision, got %+v", first)
	}
	second := w.Reconcile()
	if len(second.Adopt) != 1 || second.Adopt[0].Name != orphan.Name || len(second.Scale) > 0 {
		t.Fatalf("then adopts, got %+v", second)
	}
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("2 0") // an older revision now
	if got := w.Find(w.Rollout.Status.CurrentPodHash).Annotations[rollouts.RevisionAnnotation]; got != "6" {
		t.Errorf("the current ReplicaSet carries revision %s, want 6", got)
	}
}

// TestTemplateIsComparedBeforeCreating: when no ReplicaSet has the hash, one that runs the template under
// another hash is taken instead of creating a second.
func TestTemplateIsComparedBeforeCreating(t *testing.T) {
	w := newWorld(t, rollout(2))
	w.Place(replicaSet("elsewhere", "v1", 1, w.Rollout.UID))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	if st := w.Rollout.Status; st.CurrentPodHash != "elsewhere" || st.StableRS != "elsewhere" || len(w.ReplicaSets()) != 1 {
		t.Errorf("current %s, stable %s, %d ReplicaSets", st.CurrentPodHash, st.StableRS, len(w.ReplicaSets()))
	}
}

// TestReplicaSetDeletedByHand: it is created again, once its name is free, and another side that still
// serves is not touched meanwhile.
func TestReplicaSetDeletedByHand(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	w.update("v2")
	canary := w.ReplicaSets()[1]
	w.Remove(canary, false)
	w.Reconcile()
	w.sizes("2 2")
	w.Remove(w.ReplicaSets()[1], true)
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("2 2")

	// Without the stable one there is nothing to share with: all pods run the canary, the pause holds.
	w.Remove(w.ReplicaSets()[0], true)
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.step(1)
	w.pods("4")

	// What is aborted then gets no more pods, and what still serves is left.
	w.must(w.Abort())
	w.edit("replicas 6", scale(6))
	w.settle()
	w.degraded("RolloutAborted")
	w.pods("4")
}

// TestAbortWhileTheReplicaSetIsDeleted: an abort brings the stable pods back, however long the ReplicaSet of
// the aborted revision takes to go.
func TestAbortWhileTheReplicaSetIsDeleted(t *testing.T) {
	w := deployed(t, rollout(4, weight(50), pause("")))
	w.update("v2")
	w.Remove(w.ReplicaSets()[1], false)
	w.must(w.Abort())
	w.settle()
	w.sizes("3 2") // The pods of the other still take room.
	w.Remove(w.ReplicaSets()[1], true)
	w.settle()
	w.sizes("4")
	w.degraded("RolloutAborted")
}

// TestHistoryLimit: "the oldest beyond the limit are deleted, only without pods; stable and current are
// always kept and do not count".
func TestHistoryLimit(t *testing.T) {
	r := rollout(2, weight(50), pause(""))
	r.Spec.RevisionHistoryLimit = ptr.To[int32](1)
	w := deployed(t, r)
	for _, name := range []string{"v2", "v3", "v4"} {
		w.edit(name, image(name))
		w.Reconcile()
		w.must(w.Promote(true))
		w.settle()
	}
	w.images("v3 v4")
	w.update("v5") // paused: stable v4, current v5
	w.images("v3 v4 v5")
	w.edit("history 0", func(spec *rollouts.RolloutSpec) { spec.RevisionHistoryLimit = ptr.To[int32](0) })
	w.settle()
	w.images("v4 v5")
}

// images checks the image of each ReplicaSet, oldest first.
func (w *world) images(want string) {
	w.t.Helper()
	got := ""
	for i, rs := range w.ReplicaSets() {
		if i > 0 {
			got += " "
		}
		got += rs.Spec.Template.Spec.Containers[0].Image
	}
	if got != want {
		w.t.Fatalf("ReplicaSets of %s, want %s", got, want)
	}
}

// TestReplicaFailureIsShown in the words of the ReplicaSet, and taken away when it is over.
func TestReplicaFailureIsShown(t *testing.T) {
	w := newWorld(t, rollout(2))
	w.Reconcile()
	s := w.Snapshot()
	failing := s.ReplicaSets[0].DeepCopy()
	failing.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: "True", Reason: "FailedCreate", Message: "exceeded quota"}}
	s.ReplicaSets = []*appsv1.ReplicaSet{failing}
	d := engine.Decide(s)
	w.must(w.Apply(s, d, -1))
	if w.condition(rollouts.RolloutReplicaFailure) != "True" {
		t.Errorf("conditions %v", w.Rollout.Status.Conditions)
	}
	w.settle()
	if w.condition(rollouts.RolloutReplicaFailure) != "" {
		t.Error("the failure is over and still shown")
	}
}
