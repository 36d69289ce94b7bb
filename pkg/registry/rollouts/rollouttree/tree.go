// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"cmp"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// messageNotObserved is that of a Rollout whose stored phase speaks of an older spec.
const messageNotObserved = "waiting for rollout spec update to be observed"

// treeOf draws the tree of a Rollout, without a resourceVersion. Nothing of the snapshot is modified.
func treeOf(s engine.Snapshot) *rollouts.RolloutTree {
	r := s.Rollout
	replicaSets := controlledBy(s.ReplicaSets, r.UID)
	return &rollouts.RolloutTree{
		ObjectMeta: metav1.ObjectMeta{
			Name:              r.Name,
			Namespace:         r.Namespace,
			UID:               r.UID,
			Labels:            r.Labels,
			CreationTimestamp: r.CreationTimestamp,
		},
		Rollout:   rootOf(r, replicaSets),
		Revisions: revisionsOf(r, replicaSets, byController(s.Pods)),
	}
}

func rootOf(r *rollouts.Rollout, replicaSets []*appsv1.ReplicaSet) rollouts.TreeRollout {
	st := &r.Status
	root := rollouts.TreeRollout{
		Phase:             st.Phase,
		Message:           st.Message,
		SetWeight:         engine.SetWeight(r),
		ActualWeight:      actualWeight(r, replicaSets),
		Replicas:          ptr.Deref(r.Spec.Replicas, v1alpha1.DefaultReplicas),
		CurrentReplicas:   st.Replicas,
		UpdatedReplicas:   st.UpdatedReplicas,
		ReadyReplicas:     st.ReadyReplicas,
		AvailableReplicas: st.AvailableReplicas,
	}
	switch strategy := r.Spec.Strategy; {
	case strategy.Canary != nil:
		root.Strategy, root.Steps = "Canary", int32(len(strategy.Canary.Steps))
	case strategy.BlueGreen != nil: // Clients are led to one revision or the other, however many pods each has.
		root.Strategy, root.ActualWeight = "BlueGreen", root.SetWeight
	}
	if st.CurrentStepIndex != nil {
		root.StepIndex = ptr.To(*st.CurrentStepIndex)
	}
	if st.ObservedGeneration < r.Generation {
		root.Phase, root.Message = rollouts.RolloutPhaseProgressing, messageNotObserved
	}
	return root
}

// actualWeight is the share of the current revision in the available pods. Unit: percent.
func actualWeight(r *rollouts.Rollout, replicaSets []*appsv1.ReplicaSet) int32 {
	var current, total int32
	for _, rs := range replicaSets {
		total += rs.Status.AvailableReplicas
		if hash := rs.Labels[rollouts.PodTemplateHashLabel]; hash != "" && hash == r.Status.CurrentPodHash {
			current += rs.Status.AvailableReplicas
		}
	}
	if total == 0 {
		return 0
	}
	return int32(int64(current) * 100 / int64(total))
}

// revisionsOf groups ReplicaSets by revision, the newest first.
func revisionsOf(r *rollouts.Rollout, replicaSets []*appsv1.ReplicaSet, pods map[types.UID][]*corev1.Pod) []rollouts.TreeRevision {
	slices.SortFunc(replicaSets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revisionOf(b), revisionOf(a)), cmp.Compare(a.Name, b.Name))
	})
	var revisions []rollouts.TreeRevision
	for _, rs := range replicaSets {
		number := revisionOf(rs)
		if last := len(revisions) - 1; last < 0 || revisions[last].Revision != number {
			revisions = append(revisions, rollouts.TreeRevision{Revision: number})
		}
		newest := &revisions[len(revisions)-1]
		newest.ReplicaSets = append(newest.ReplicaSets, replicaSetOf(r, rs, pods[rs.UID]))
	}
	return revisions
}

func replicaSetOf(r *rollouts.Rollout, rs *appsv1.ReplicaSet, pods []*corev1.Pod) rollouts.TreeReplicaSet {
	out := rollouts.TreeReplicaSet{
		Name:              rs.Name,
		UID:               rs.UID,
		CreationTimestamp: rs.CreationTimestamp,
		PodHash:           rs.Labels[rollouts.PodTemplateHashLabel],
		Status:            wordFor(rs),
		Replicas:          ptr.Deref(rs.Spec.Replicas, 1),
		ReadyReplicas:     rs.Status.ReadyReplicas,
		AvailableReplicas: rs.Status.AvailableReplicas,
	}
	out.Role = roleOf(r, rs)
	for i := range rs.Spec.Template.Spec.Containers {
		out.Images = append(out.Images, rs.Spec.Template.Spec.Containers[i].Image)
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range pods {
		summary := summarise(pod)
		out.Pods = append(out.Pods, rollouts.TreePod{
			Name:              pod.Name,
			UID:               pod.UID,
			CreationTimestamp: pod.CreationTimestamp,
			Status:            summary.reason,
			ReadyContainers:   summary.ready,
			Containers:        summary.total,
			Restarts:          summary.restarts,
		})
	}
	return out
}

// roleOf is what a revision is to its Rollout. A first deployment has no stable revision to be held against, and
// so no canary.
func roleOf(r *rollouts.Rollout, rs *appsv1.ReplicaSet) rollouts.TreeRole {
	st, hash := &r.Status, rs.Labels[rollouts.PodTemplateHashLabel]
	if r.Spec.Strategy.BlueGreen != nil {
		return blueGreenRole(st, rs)
	}
	switch {
	case hash == "" || st.StableRS == "":
		return ""
	case hash == st.StableRS:
		return rollouts.TreeRoleStable
	case hash == st.CurrentPodHash:
		return rollouts.TreeRoleCanary
	default:
		return ""
	}
}

// blueGreenRole is what a revision is to a blueGreen Rollout. The active one is what clients are led to now, whether it
// is the stable one yet or not.
func blueGreenRole(st *rollouts.RolloutStatus, rs *appsv1.ReplicaSet) rollouts.TreeRole {
	hash, active := rs.Labels[rollouts.PodTemplateHashLabel], st.StableRS
	if st.BlueGreen != nil && st.BlueGreen.ActiveSelector != "" {
		active = st.BlueGreen.ActiveSelector
	}
	switch {
	case hash == "":
		return ""
	case hash == active:
		return rollouts.TreeRoleActive
	case hash == st.StableRS:
		return rollouts.TreeRoleStable
	case hash == st.CurrentPodHash && st.StableRS != "":
		return rollouts.TreeRolePreview
	case rs.Annotations[rollouts.ScaleDownDeadlineAnnotation] != "" && ptr.Deref(rs.Spec.Replicas, 1) > 0:
		return rollouts.TreeRoleDelay
	default:
		return ""
	}
}

// wordFor is the state of a ReplicaSet in one word.
func wordFor(rs *appsv1.ReplicaSet) string {
	for i := range rs.Status.Conditions {
		if c := &rs.Status.Conditions[i]; c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			return "ReplicaFailure"
		}
	}
	wanted := ptr.Deref(rs.Spec.Replicas, 1)
	switch {
	case rs.Status.AvailableReplicas < wanted || rs.Status.ObservedGeneration < rs.Generation:
		return "Progressing"
	case wanted == 0:
		return "ScaledDown"
	default:
		return "Healthy"
	}
}

func controlledBy(all []*appsv1.ReplicaSet, owner types.UID) []*appsv1.ReplicaSet {
	var owned []*appsv1.ReplicaSet
	for _, rs := range all {
		if ref := metav1.GetControllerOfNoCopy(rs); ref != nil && ref.UID == owner {
			owned = append(owned, rs)
		}
	}
	return owned
}

func byController(pods []*corev1.Pod) map[types.UID][]*corev1.Pod {
	sorted := map[types.UID][]*corev1.Pod{}
	for _, pod := range pods {
		if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
			sorted[ref.UID] = append(sorted[ref.UID], pod)
		}
	}
	return sorted
}

// revisionOf is the number of the revision that a ReplicaSet last ran; 0 if it does not say.
func revisionOf(rs *appsv1.ReplicaSet) int64 {
	number, err := strconv.ParseInt(rs.Annotations[rollouts.RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return number
}
