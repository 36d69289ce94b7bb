// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Snapshot is what is known of one Rollout at one moment. ReplicaSets and pods of others may be among
// them: only those are shown that the Rollout controls. Nothing in it is modified.
type Snapshot struct {
	Rollout     *v1alpha1.Rollout
	ReplicaSets []*appsv1.ReplicaSet
	Pods        []*corev1.Pod
}

// revision is the ReplicaSets that last ran one revision: one, unless something went wrong.
type revision struct {
	number      int64
	replicaSets []*appsv1.ReplicaSet
}

// replicaSets are those of the Rollout, newest revision first.
func (s Snapshot) replicaSets() []*appsv1.ReplicaSet {
	owned := controlledBy(s.ReplicaSets, s.Rollout.UID)
	slices.SortFunc(owned, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revisionOf(b), revisionOf(a)), cmp.Compare(a.Name, b.Name))
	})
	return owned
}

// revisions groups the ReplicaSets of the Rollout, newest first.
func (s Snapshot) revisions() []revision {
	var revisions []revision
	for _, rs := range s.replicaSets() {
		number := revisionOf(rs)
		if last := len(revisions) - 1; last >= 0 && revisions[last].number == number {
			revisions[last].replicaSets = append(revisions[last].replicaSets, rs)
			continue
		}
		revisions = append(revisions, revision{number, []*appsv1.ReplicaSet{rs}})
	}
	return revisions
}

// podsOf are the pods of a ReplicaSet, oldest first.
func (s Snapshot) podsOf(rs *appsv1.ReplicaSet) []*corev1.Pod {
	owned := controlledBy(s.Pods, rs.UID)
	slices.SortFunc(owned, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return owned
}

// isStable says whether a ReplicaSet is of the revision that an abort goes back to.
func (s Snapshot) isStable(rs *appsv1.ReplicaSet) bool {
	hash := rs.Labels[rollouts.PodTemplateHashLabel]
	return hash != "" && hash == s.Rollout.Status.StableRS
}

// isCanary says whether a ReplicaSet is of the revision that an update moves to. A first deployment has
// no stable revision to be held against, and so no canary.
func (s Snapshot) isCanary(rs *appsv1.ReplicaSet) bool {
	hash, status := rs.Labels[rollouts.PodTemplateHashLabel], &s.Rollout.Status
	return hash != "" && hash == status.CurrentPodHash && status.StableRS != "" && hash != status.StableRS
}

// actualWeight is the share of the current revision in the available pods, past the last step too, where
// the last old pods are still to go. Unit: percent.
func (s Snapshot) actualWeight() int32 {
	var current, total int32
	for _, rs := range s.replicaSets() {
		total += rs.Status.AvailableReplicas
		if hash := rs.Labels[rollouts.PodTemplateHashLabel]; hash != "" && hash == s.Rollout.Status.CurrentPodHash {
			current += rs.Status.AvailableReplicas
		}
	}
	if total == 0 {
		return 0
	}
	return current * 100 / total
}

func controlledBy[T metav1.Object](objects []T, owner types.UID) []T {
	var owned []T
	for _, object := range objects {
		if ref := metav1.GetControllerOfNoCopy(object); ref != nil && ref.UID == owner {
			owned = append(owned, object)
		}
	}
	return owned
}

// revisionOf is the number of the revision that a ReplicaSet last ran; 0 if it does not say.
func revisionOf(rs *appsv1.ReplicaSet) int64 {
	number, err := strconv.ParseInt(rs.Annotations[rollouts.RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return number
}
