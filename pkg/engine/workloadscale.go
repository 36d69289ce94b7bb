// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.14 (W2 to W4) and 7.15 (a Deployment that is scaled again and again, or doubles the
// capacity without a word).

const (
	eventWorkloadScaled   = "ScalingWorkload"
	eventWorkloadScaledUp = "WorkloadScaledUp"

	reasonPodsBesides = "PodsBesides"
)

// scaleWorkload takes the pods of the Deployment away as far as those of the Rollout stand in for them. It is done once
// for a Deployment: when that has no pods and the Rollout is Healthy. What others make of its size afterwards is told
// of, and left to them.
func (d *decider) scaleWorkload() {
	st, w, ref := &d.rollout.Status, d.observed.Workload, d.rollout.Spec.WorkloadRef
	if ref == nil || w == nil || w.DeletionTimestamp != nil {
		return
	}
	if st.WorkloadScaledDown != w.UID {
		st.WorkloadScaledDown = ""
	}
	d.noteScaledUp()
	size := workloadSize(w)
	target := d.workloadTarget()
	switch {
	case st.WorkloadScaledDown != "" || ref.ScaleDown == rollouts.WorkloadScaleDownNever || ref.ScaleDown == "":
	case target != size:
		d.out.Workload = &WorkloadChange{Name: w.Name, UID: w.UID, ResourceVersion: w.ResourceVersion, Replicas: target, Before: sizeBefore(w)}
		d.event(false, eventWorkloadScaled, "Scaled Deployment %q from %d to %d", w.Name, size, target)
	case size == 0 && st.Phase == rollouts.RolloutPhaseHealthy:
		st.WorkloadScaledDown = w.UID
	}
}

// workloadTarget is how many pods the Deployment should have. With those of the Rollout that are available they are as
// many as replicas, unless it never had so many. It is not made smaller while it replaces its own pods: then it could
// take the wrong ones.
func (d *decider) workloadTarget() int32 {
	w, size := d.observed.Workload, workloadSize(d.observed.Workload)
	if d.rollout.Status.Phase == rollouts.RolloutPhaseHealthy {
		return 0
	}
	if d.rollout.Spec.WorkloadRef.ScaleDown != rollouts.WorkloadScaleDownProgressively {
		return size
	}
	lacking := max(replicas(d.rollout)-d.rollout.Status.AvailableReplicas, 0)
	target := min(lacking, sizeBefore(w))
	if target < size && (d.rollout.Spec.Paused || replacing(w)) {
		return size
	}
	return target
}

// replacing is true while a Deployment runs, or may run, pods of two templates.
func replacing(w *appsv1.Deployment) bool {
	return w.Status.ObservedGeneration < w.Generation || w.Status.UpdatedReplicas < w.Status.Replicas
}

func workloadSize(w *appsv1.Deployment) int32 { return ptr.Deref(w.Spec.Replicas, 1) }

// sizeBefore is how many pods a Deployment had before it was scaled down for the Rollout.
func sizeBefore(w *appsv1.Deployment) int32 {
	size := workloadSize(w)
	before, err := strconv.ParseInt(w.Annotations[rollouts.WorkloadReplicasAnnotation], 10, 32)
	if err != nil {
		return size
	}
	return max(int32(before), size)
}

// workloadScaledUp is true if the Deployment was taken to 0 and has pods again.
func (d *decider) workloadScaledUp() bool {
	w := d.observed.Workload
	return d.rollout.Spec.WorkloadRef != nil && w != nil && d.rollout.Status.WorkloadScaledDown == w.UID && w.UID != "" && workloadSize(w) > 0
}

// noteScaledUp sets the condition that tells of it.
func (d *decider) noteScaledUp() {
	st := &d.rollout.Status
	if !d.workloadScaledUp() {
		removeCondition(st, rollouts.RolloutWorkloadScaledUp)
		return
	}
	message := scaledUpMessage(d.observed.Workload)
	if findCondition(d.stored, rollouts.RolloutWorkloadScaledUp) == nil {
		d.event(true, eventWorkloadScaledUp, "%s", message)
	}
	setCondition(st, rollouts.RolloutWorkloadScaledUp, corev1.ConditionTrue, reasonPodsBesides, message, d.now)
}

func scaledUpMessage(w *appsv1.Deployment) string {
	return fmt.Sprintf("Deployment %q was scaled down for this rollout, and somebody has given it %s again: both serve now; leave spec.replicas out of its manifest, or set it to 0", w.Name, plural(int(workloadSize(w)), "pod"))
}
