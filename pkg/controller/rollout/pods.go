// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// podDelay is how long a Rollout waits to be looked at for what happened to a pod, so that all that happens to its pods
// meanwhile is one reason. Looking again at once for each event would leave no processor to take the events, which then
// pile up.
const podDelay = 20 * time.Millisecond

// podIndex finds pods by the UID of their controller.
const podIndex = "controller"

func indexPodsByController(pod *corev1.Pod) ([]string, error) {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		return []string{ownedBy(owner.UID)}, nil
	}
	return nil, nil
}

// trimPod keeps of a pod what restarts, explanations, trees and the metadata of roles are about: its identity, what
// is written on it, and how it fares. A cluster may have a hundred thousand of them.
func trimPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil // A deletion that was missed.
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:                       pod.Name,
			Namespace:                  pod.Namespace,
			UID:                        pod.UID,
			ResourceVersion:            pod.ResourceVersion,
			CreationTimestamp:          pod.CreationTimestamp,
			DeletionTimestamp:          pod.DeletionTimestamp,
			DeletionGracePeriodSeconds: pod.DeletionGracePeriodSeconds,
			OwnerReferences:            pod.OwnerReferences,
			Labels:                     interned(pod.Labels),
			Annotations:                interned(pod.Annotations),
		},
		Spec: corev1.PodSpec{
			InitContainers: trimContainers(pod.Spec.InitContainers),
			Containers:     trimContainers(pod.Spec.Containers),
			ReadinessGates: pod.Spec.ReadinessGates,
		},
		Status: corev1.PodStatus{
			Phase:                 pod.Status.Phase,
			Reason:                pod.Status.Reason,
			Message:               pod.Status.Message,
			Conditions:            pod.Status.Conditions,
			InitContainerStatuses: trimStatuses(pod.Status.InitContainerStatuses),
			ContainerStatuses:     trimStatuses(pod.Status.ContainerStatuses),
		},
	}, nil
}

func trimContainers(all []corev1.Container) []corev1.Container {
	var trimmed []corev1.Container
	for i := range all {
		trimmed = append(trimmed, corev1.Container{Name: all[i].Name, RestartPolicy: all[i].RestartPolicy})
	}
	return trimmed
}

func trimStatuses(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	var trimmed []corev1.ContainerStatus
	for i := range all {
		trimmed = append(trimmed, corev1.ContainerStatus{
			Name:                 all[i].Name,
			State:                all[i].State,
			LastTerminationState: all[i].LastTerminationState,
			Ready:                all[i].Ready,
			RestartCount:         all[i].RestartCount,
			Started:              all[i].Started,
		})
	}
	return trimmed
}

// handlePods makes every change of a pod one of the Rollout that it belongs to.
func (c *Controller) handlePods() (cache.ResourceEventHandlerRegistration, error) {
	return c.pods.AddTypedEventHandler(coreinformers.PodHandlerFuncs{
		AddFunc: c.podSeen,
		UpdateFunc: func(old, new *corev1.Pod) {
			if !apiequality.Semantic.DeepEqual(withoutVersion(old), withoutVersion(new)) {
				c.podSeen(new)
			}
		},
		DeleteFunc: func(deleted coreinformers.DeletedPod) {
			if pod := deleted.OptionalObj; pod != nil {
				c.podSeen(pod)
			}
		},
	})
}

// withoutVersion is what of a trimmed pod anybody looks at.
func withoutVersion(pod *corev1.Pod) *corev1.Pod {
	out := *pod
	out.ResourceVersion = ""
	return &out
}

// podSeen tells of the Rollout of a pod. The controller itself looks at pods in a restart, and where something is put
// on them: all else it learns from the ReplicaSets, which count them.
func (c *Controller) podSeen(pod *corev1.Pod) {
	r, rs := c.rolloutOf(pod)
	if r == nil {
		return
	}
	key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
	c.config.Changed(key)
	if t := c.leading.Load(); t != nil && (restarting(r) || engine.LooksAtPods(observe(r).hub, []*appsv1.ReplicaSet{rs})) {
		t.queue.AddAfter(key, podDelay)
	}
}

// rolloutOf is the Rollout that controls the ReplicaSet that controls a pod, and that ReplicaSet; nil if there is none.
func (c *Controller) rolloutOf(pod *corev1.Pod) (*v1alpha1.Rollout, *appsv1.ReplicaSet) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return nil, nil
	}
	found, exists, err := c.replicaSets.GetStore().GetByKey(pod.Namespace + "/" + owner.Name)
	if err != nil || !exists || found.(*appsv1.ReplicaSet).UID != owner.UID {
		return nil, nil
	}
	rs := found.(*appsv1.ReplicaSet)
	grandparent := metav1.GetControllerOfNoCopy(rs)
	if grandparent == nil {
		return nil, nil
	}
	r, exists, err := c.rollouts.GetStore().GetByKey(pod.Namespace + "/" + grandparent.Name)
	if err != nil || !exists || r.(*v1alpha1.Rollout).UID != grandparent.UID {
		return nil, nil
	}
	return r.(*v1alpha1.Rollout), rs
}

// restarting is true while a restart was asked for that has not come to its end.
func restarting(r *v1alpha1.Rollout) bool {
	return r.Spec.RestartAt != nil && !r.Spec.RestartAt.Equal(r.Status.RestartedAt)
}

// podsOf are the pods that ReplicaSets control.
func (c *Controller) podsOf(replicaSets []*appsv1.ReplicaSet) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, rs := range replicaSets {
		found, err := c.pods.GetTypedIndexer().ByTypedIndex(podIndex, ownedBy(rs.UID))
		if err != nil {
			panic("the index of pods by controller is missing: " + err.Error())
		}
		pods = append(pods, found...)
	}
	return pods
}

// onlyHashedPods restricts a request to pods that carry our label.
func onlyHashedPods(options *metav1.ListOptions) {
	options.LabelSelector = rollouts.PodTemplateHashLabel
}
