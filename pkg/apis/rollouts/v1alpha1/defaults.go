// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// The defaults of a Rollout, as documented on its fields.
const (
	DefaultReplicas                int32 = 1
	DefaultRevisionHistoryLimit    int32 = 10
	DefaultProgressDeadlineSeconds int32 = 600
	DefaultMaxSurge                      = "25%"
	DefaultMaxUnavailable                = "25%"
	DefaultRequiredApprovals       int32 = 1
	DefaultNotAuthor                     = true

	DefaultAutoPromotionEnabled             = true
	DefaultAutoPromotionSeconds       int32 = 0
	DefaultScaleDownDelaySeconds      int32 = 30
	DefaultAbortScaleDownDelaySeconds int32 = 30
)

func addDefaultingFuncs(scheme *runtime.Scheme) error {
	return RegisterDefaults(scheme)
}

// SetDefaults_RolloutSpec sets the defaults of a RolloutSpec. The template is defaulted by the cluster that
// will run it; the few defaults that the API types of Kubernetes declare themselves agree with that.
func SetDefaults_RolloutSpec(spec *RolloutSpec) {
	if spec.Replicas == nil {
		spec.Replicas = ptr.To(DefaultReplicas)
	}
	if spec.RevisionHistoryLimit == nil {
		spec.RevisionHistoryLimit = ptr.To(DefaultRevisionHistoryLimit)
	}
	if spec.ProgressDeadlineSeconds == nil {
		spec.ProgressDeadlineSeconds = ptr.To(DefaultProgressDeadlineSeconds)
	}
}

// SetDefaults_WorkloadRef sets the defaults of a WorkloadRef.
func SetDefaults_WorkloadRef(ref *WorkloadRef) {
	if ref.ScaleDown == "" {
		ref.ScaleDown = WorkloadScaleDownNever
	}
}

// SetDefaults_CanaryStrategy sets the defaults of a CanaryStrategy.
func SetDefaults_CanaryStrategy(canary *CanaryStrategy) {
	if canary.MaxSurge == nil {
		canary.MaxSurge = ptr.To(intstr.FromString(DefaultMaxSurge))
	}
	if canary.MaxUnavailable == nil {
		canary.MaxUnavailable = ptr.To(intstr.FromString(DefaultMaxUnavailable))
	}
}

// SetDefaults_BlueGreenStrategy sets the defaults of a BlueGreenStrategy.
func SetDefaults_BlueGreenStrategy(blueGreen *BlueGreenStrategy) {
	if blueGreen.AutoPromotionEnabled == nil {
		blueGreen.AutoPromotionEnabled = ptr.To(DefaultAutoPromotionEnabled)
	}
	if blueGreen.AutoPromotionSeconds == nil {
		blueGreen.AutoPromotionSeconds = ptr.To(DefaultAutoPromotionSeconds)
	}
	if blueGreen.MaxUnavailable == nil {
		blueGreen.MaxUnavailable = ptr.To(intstr.FromString(DefaultMaxUnavailable))
	}
	if blueGreen.ScaleDownDelaySeconds == nil {
		blueGreen.ScaleDownDelaySeconds = ptr.To(DefaultScaleDownDelaySeconds)
	}
	if blueGreen.AbortScaleDownDelaySeconds == nil {
		blueGreen.AbortScaleDownDelaySeconds = ptr.To(DefaultAbortScaleDownDelaySeconds)
	}
}

// SetDefaults_PauseApproval sets the defaults of a PauseApproval.
func SetDefaults_PauseApproval(approval *PauseApproval) {
	if approval.Required == nil {
		approval.Required = ptr.To(DefaultRequiredApprovals)
	}
	if approval.NotAuthor == nil {
		approval.NotAuthor = ptr.To(DefaultNotAuthor)
	}
}
