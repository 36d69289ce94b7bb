// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// now is the time at which everything in the tests is looked at.
var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// web is a Rollout of five pods with the steps of the guide, paused at its first pause.
func web(change ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "uid-web", Generation: 2, CreationTimestamp: ago(12 * time.Minute)},
		Spec: v1alpha1.RolloutSpec{
			Replicas: ptr.To[int32](5),
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: []v1alpha1.CanaryStep{
				{SetWeight: ptr.To[int32](20)}, {Pause: &v1alpha1.RolloutPause{}},
				{SetWeight: ptr.To[int32](40)}, {Pause: &v1alpha1.RolloutPause{}},
				{SetWeight: ptr.To[int32](60)}, {Pause: &v1alpha1.RolloutPause{}},
				{SetWeight: ptr.To[int32](80)}, {Pause: &v1alpha1.RolloutPause{}},
			}}},
		},
		Status: v1alpha1.RolloutStatus{
			ObservedGeneration: 2, Phase: v1alpha1.RolloutPhasePaused, Message: "CanaryPauseStep",
			Replicas: 5, UpdatedReplicas: 1, ReadyReplicas: 5, AvailableReplicas: 5,
			Revision: 2, CurrentPodHash: "new", StableRS: "old", CurrentStepIndex: ptr.To[int32](1),
			Canary: &v1alpha1.CanaryStatus{Weights: &v1alpha1.CanaryWeights{Canary: v1alpha1.WeightDestination{Weight: 20}}},
		},
	}
	for _, f := range change {
		f(r)
	}
	return r
}

// tree is what the server makes of a Rollout like web, in its first pause, and of ReplicaSets, the newest
// revision first.
func tree(replicaSets []v1alpha1.TreeReplicaSet, change ...func(*v1alpha1.RolloutTree)) *v1alpha1.RolloutTree {
	t := &v1alpha1.RolloutTree{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "uid-web", CreationTimestamp: ago(12 * time.Minute)},
		Rollout: v1alpha1.TreeRollout{
			Strategy: "Canary", Phase: v1alpha1.RolloutPhasePaused, Message: "CanaryPauseStep",
			StepIndex: ptr.To[int32](1), Steps: 8, SetWeight: 20, ActualWeight: 20,
			Replicas: 5, CurrentReplicas: 5, UpdatedReplicas: 1, ReadyReplicas: 5, AvailableReplicas: 5,
		},
	}
	for i, rs := range replicaSets {
		t.Revisions = append(t.Revisions, v1alpha1.TreeRevision{
			Revision: int64(len(replicaSets) - i), ReplicaSets: []v1alpha1.TreeReplicaSet{rs},
		})
	}
	for _, f := range change {
		f(t)
	}
	return t
}

// replicaSet is a ReplicaSet of web with all its pods running.
func replicaSet(hash string, role v1alpha1.TreeRole, replicas int32, image string, age time.Duration) v1alpha1.TreeReplicaSet {
	rs := v1alpha1.TreeReplicaSet{
		Name: "web-" + hash, CreationTimestamp: ago(age), PodHash: hash, Role: role, Status: "Healthy",
		Replicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas, Images: []string{image},
	}
	if replicas == 0 {
		rs.Status = "ScaledDown"
	}
	for i := range replicas {
		rs.Pods = append(rs.Pods, v1alpha1.TreePod{
			Name: fmt.Sprintf("%s-p%d", rs.Name, i), CreationTimestamp: rs.CreationTimestamp, Status: "Running", ReadyContainers: 1, Containers: 1,
		})
	}
	return rs
}
