// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
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

// replicaSet is a ReplicaSet of web with all its pods available.
func replicaSet(hash string, revision int, replicas int32, image string, age time.Duration) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-" + hash, Namespace: "shop", UID: types.UID("uid-" + hash), CreationTimestamp: ago(age),
			Labels:          map[string]string{rollouts.PodTemplateHashLabel: hash},
			Annotations:     map[string]string{rollouts.RevisionAnnotation: strconv.Itoa(revision)},
			OwnerReferences: []metav1.OwnerReference{{UID: "uid-web", Controller: ptr.To(true)}},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: ptr.To(replicas)},
		Status: appsv1.ReplicaSetStatus{Replicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas},
	}
	rs.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: image}}
	return rs
}

// podsFor are running pods, one for each that the ReplicaSet has available.
func podsFor(rs *appsv1.ReplicaSet) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range rs.Status.AvailableReplicas {
		pods = append(pods, pod(rs, fmt.Sprintf("p%d", i), runningStatus()))
	}
	return pods
}

func pod(rs *appsv1.ReplicaSet, suffix string, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: rs.Name + "-" + suffix, Namespace: rs.Namespace, CreationTimestamp: rs.CreationTimestamp,
			OwnerReferences: []metav1.OwnerReference{{UID: rs.UID, Controller: ptr.To(true)}},
		},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status: status,
	}
}

func runningStatus() corev1.PodStatus {
	return corev1.PodStatus{
		Phase:             corev1.PodRunning,
		ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
	}
}
