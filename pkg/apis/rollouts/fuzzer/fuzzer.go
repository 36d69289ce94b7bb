// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fuzzer fills the hub types with random values, for round-trip tests. It may import the hub types
// and apimachinery.
package fuzzer

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Funcs fill what the generic functions would leave in a state that defaults would then change.
func Funcs(serializer.CodecFactory) []any {
	return []any{
		// The inside of a pod has round-trip tests of its own where it comes from.
		func(pod *corev1.PodSpec, c randfill.Continue) {
			*pod = corev1.PodSpec{NodeName: c.String(10), Containers: []corev1.Container{{Name: c.String(10), Image: c.String(10)}}}
		},
		func(condition *rollouts.RolloutCondition, c randfill.Continue) {
			c.FillNoCustom(condition)
			condition.LastUpdateTime = moment(c)
		},
		func(pause *rollouts.PauseCondition, c randfill.Continue) {
			c.FillNoCustom(pause)
			pause.StartTime = moment(c)
		},
		func(status *rollouts.RolloutStatus, c randfill.Continue) {
			c.FillNoCustom(status)
			status.AbortedAt = ptr.To(moment(c))
		},
		func(action *rollouts.RolloutAction, c randfill.Continue) {
			c.FillNoCustom(action)
			action.Time = moment(c)
		},
		func(approval *rollouts.RolloutApproval, c randfill.Continue) {
			c.FillNoCustom(approval)
			approval.Time = moment(c)
		},
		func(blocker *rollouts.Blocker, c randfill.Continue) {
			c.FillNoCustom(blocker)
			blocker.Since, blocker.Until = ptr.To(moment(c)), ptr.To(moment(c))
		},
		func(approval *rollouts.PauseApproval, c randfill.Continue) {
			c.FillNoCustom(approval)
			approval.Required, approval.NotAuthor = ptr.To(c.Int31()), ptr.To(c.Bool())
		},
		func(spec *rollouts.RolloutSpec, c randfill.Continue) {
			c.FillNoCustom(spec)
			spec.Replicas = ptr.To(c.Int31())
			spec.RevisionHistoryLimit = ptr.To(c.Int31())
			spec.ProgressDeadlineSeconds = ptr.To(c.Int31())
		},
		func(canary *rollouts.CanaryStrategy, c randfill.Continue) {
			c.FillNoCustom(canary)
			canary.MaxSurge = ptr.To(intstr.FromInt32(c.Int31()))
			canary.MaxUnavailable = ptr.To(intstr.FromString("30%"))
		},
		func(ref *rollouts.WorkloadRef, c randfill.Continue) {
			c.FillNoCustom(ref)
			ref.ScaleDown = rollouts.WorkloadScaleDownProgressively
		},
		func(blueGreen *rollouts.BlueGreenStrategy, c randfill.Continue) {
			c.FillNoCustom(blueGreen)
			blueGreen.AutoPromotionEnabled, blueGreen.AutoPromotionSeconds = ptr.To(c.Bool()), ptr.To(c.Int31())
			blueGreen.MaxUnavailable = ptr.To(intstr.FromString("30%"))
			blueGreen.ScaleDownDelaySeconds, blueGreen.AbortScaleDownDelaySeconds = ptr.To(c.Int31()), ptr.To(c.Int31())
		},
	}
}

// moment is a time as precise as one that is stored.
func moment(c randfill.Continue) metav1.MicroTime {
	return metav1.NewMicroTime(time.UnixMicro(c.Int63n(1 << 50)).UTC())
}
