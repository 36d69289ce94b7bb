// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutPlan says what will happen to a Rollout, as reckoned by the engine that runs it. It is the answer
// of rollouts/plan: to a GET for the Rollout as it is stored, to a POST for what it would be if it were
// changed as spec says. Nothing is stored.
type RolloutPlan struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the Rollout.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what would be changed. Empty for the Rollout as it is stored.
	// +optional
	Spec RolloutPlanSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`

	// status is the plan. Read-only: what a client sends here is ignored.
	// +optional
	Status RolloutPlanStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// RolloutPlanSpec is a change of a Rollout. What is not set stays as it is.
type RolloutPlanSpec struct {
	// template is the template that the Rollout would have. The cluster's own API server validates and
	// defaults it, as it would on the change itself.
	// +optional
	Template *corev1.PodTemplateSpec `json:"template,omitempty" protobuf:"bytes,1,opt,name=template"`

	// strategy is the strategy that the Rollout would have.
	// +optional
	Strategy *RolloutStrategy `json:"strategy,omitempty" protobuf:"bytes,2,opt,name=strategy"`

	// replicas is the number of pods that the Rollout would have. Unit: pods. Minimum 0.
	// +optional
	Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,3,opt,name=replicas"`
}

// RolloutPlanStatus is a plan.
type RolloutPlanStatus struct {
	// revision is the revision that the plan rolls out.
	// +optional
	Revision int64 `json:"revision,omitempty" protobuf:"varint,1,opt,name=revision"`

	// newRevision is true if the change starts a revision that the Rollout has not had yet.
	// +optional
	NewRevision bool `json:"newRevision,omitempty" protobuf:"varint,2,opt,name=newRevision"`

	// steps are what will happen, in this order. Empty if nothing will.
	// +optional
	// +listType=atomic
	Steps []PlannedStep `json:"steps,omitempty" protobuf:"bytes,3,rep,name=steps"`

	// peakReplicas is the highest number of pods, of all revisions, that will exist at one time. Unit: pods.
	// Pods that are terminating are not counted, as maxSurge does not count them.
	// +optional
	PeakReplicas int32 `json:"peakReplicas,omitempty" protobuf:"varint,4,opt,name=peakReplicas"`

	// phase is the phase that the plan ends in if people do their part: Healthy, or Degraded after an abort.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty" protobuf:"bytes,5,opt,name=phase,casttype=RolloutPhase"`

	// message says in a sentence what the plan is, or why there is nothing to be done.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,6,opt,name=message"`

	// waits is the sum of the timed pauses that are still to be waited for; what pods take to become
	// available, and people to decide, comes on top.
	// +optional
	Waits *metav1.Duration `json:"waits,omitempty" protobuf:"bytes,7,opt,name=waits"`
}

// PlannedAction is what a step of a plan does.
// +enum
type PlannedAction string

const (
	// PlannedSetWeight: pods are moved until the share of a setWeight step is reached.
	PlannedSetWeight PlannedAction = "SetWeight"
	// PlannedPause: a pause step is waited in.
	PlannedPause PlannedAction = "Pause"
	// PlannedComplete: after the last step all pods are moved to the revision that is rolled out.
	PlannedComplete PlannedAction = "Complete"
	// PlannedDeploy: pods are moved without any steps: a first deployment, a return to the stable revision,
	// an abort, a full promotion or a change of size.
	PlannedDeploy PlannedAction = "Deploy"
)

// PlannedStep is one step of a plan.
type PlannedStep struct {
	// index is that of the step in the strategy, from 0; unset for what is not a step of it.
	// +optional
	Index *int32 `json:"index,omitempty" protobuf:"varint,1,opt,name=index"`

	// action is what it does: SetWeight, Pause, Complete or Deploy.
	Action PlannedAction `json:"action" protobuf:"bytes,2,opt,name=action,casttype=PlannedAction"`

	// weight is the share of pods wanted of the new revision during the step. Unit: percent.
	Weight int32 `json:"weight" protobuf:"varint,3,opt,name=weight"`

	// stableReplicas is the number of pods of all other revisions at the end of the step. Unit: pods.
	StableReplicas int32 `json:"stableReplicas" protobuf:"varint,4,opt,name=stableReplicas"`

	// canaryReplicas is the number of pods of the new revision at the end of the step. Unit: pods.
	CanaryReplicas int32 `json:"canaryReplicas" protobuf:"varint,5,opt,name=canaryReplicas"`

	// peakReplicas is the highest number of pods that will exist at one time in the step. Unit: pods.
	// Pods that are terminating are not counted, as maxSurge does not count them.
	PeakReplicas int32 `json:"peakReplicas" protobuf:"varint,6,opt,name=peakReplicas"`

	// duration is how long a timed pause still has to last, or how long pods of earlier revisions are still kept.
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty" protobuf:"bytes,7,opt,name=duration"`

	// untilPromoted is true for a pause that ends with a promote.
	// +optional
	UntilPromoted bool `json:"untilPromoted,omitempty" protobuf:"varint,8,opt,name=untilPromoted"`

	// approval is whose promotes the pause asks for.
	// +optional
	Approval *PauseApproval `json:"approval,omitempty" protobuf:"bytes,9,opt,name=approval"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutExplanation says why a Rollout stands where it stands. It is the answer of rollouts/explain.
type RolloutExplanation struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the Rollout.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// status is the explanation.
	// +optional
	Status RolloutExplanationStatus `json:"status,omitempty" protobuf:"bytes,2,opt,name=status"`
}

// RolloutExplanationStatus is an explanation.
type RolloutExplanationStatus struct {
	// phase is the phase of the Rollout.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty" protobuf:"bytes,1,opt,name=phase,casttype=RolloutPhase"`

	// message says why the phase is what it is.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,2,opt,name=message"`

	// currentStepIndex is the index, from 0, of the step that the update is at; unset without steps.
	// +optional
	CurrentStepIndex *int32 `json:"currentStepIndex,omitempty" protobuf:"varint,3,opt,name=currentStepIndex"`

	// revision is the revision of the template.
	// +optional
	Revision int64 `json:"revision,omitempty" protobuf:"varint,4,opt,name=revision"`

	// blockers are what keeps the Rollout from going on, the one to look at first in front. Empty if
	// nothing does: it is Healthy, or moves by itself.
	// +optional
	// +listType=atomic
	Blockers []Blocker `json:"blockers,omitempty" protobuf:"bytes,5,rep,name=blockers"`
}

// BlockerCode names what keeps a Rollout from going on, for machines.
// +enum
type BlockerCode string

const (
	// BlockerPaused: a pause step without an end of its own is waited in, until somebody promotes.
	BlockerPaused BlockerCode = "Paused"
	// BlockerTimedPause: a pause step with a duration is waited in.
	BlockerTimedPause BlockerCode = "TimedPause"
	// BlockerApprovalMissing: a pause step waits for the approval of more people.
	BlockerApprovalMissing BlockerCode = "ApprovalMissing"
	// BlockerManuallyPaused: spec.paused is set.
	BlockerManuallyPaused BlockerCode = "ManuallyPaused"
	// BlockerPodsNotAvailable: pods exist, but are not available; the message says why.
	BlockerPodsNotAvailable BlockerCode = "PodsNotAvailable"
	// BlockerPodsRefused: the cluster refuses to create pods or ReplicaSets, as for quota or admission.
	BlockerPodsRefused BlockerCode = "PodsRefused"
	// BlockerEvictionRefused: a restart waits for a PodDisruptionBudget to let pods be evicted.
	BlockerEvictionRefused BlockerCode = "EvictionRefused"
	// BlockerDeadlineExceeded: there was no progress for progressDeadlineSeconds.
	BlockerDeadlineExceeded BlockerCode = "ProgressDeadlineExceeded"
	// BlockerAborted: the update was aborted.
	BlockerAborted BlockerCode = "Aborted"
	// BlockerNotObserved: the controller has not taken up the last change of the spec yet.
	BlockerNotObserved BlockerCode = "NotObserved"
	// BlockerControllerStopped: no controller acts on Rollouts now.
	BlockerControllerStopped BlockerCode = "ControllerStopped"
	// BlockerHeld: the ReplicaSets carry a higher revision than the Rollout, so nothing is done.
	BlockerHeld BlockerCode = "Held"
	// BlockerWorkloadMissing: the Deployment of workloadRef does not exist.
	BlockerWorkloadMissing BlockerCode = "WorkloadMissing"
	// BlockerWorkloadMismatch: the Deployment of workloadRef has pods that spec.selector does not match.
	BlockerWorkloadMismatch BlockerCode = "WorkloadMismatch"
	// BlockerWorkloadScaledUp: the Deployment that was scaled down for this Rollout has pods again.
	BlockerWorkloadScaledUp BlockerCode = "WorkloadScaledUp"
	// BlockerServiceMissing: a Service that the strategy names does not exist.
	BlockerServiceMissing BlockerCode = "ServiceMissing"
	// BlockerServiceTaken: a Service that the strategy names is managed by another Rollout.
	BlockerServiceTaken BlockerCode = "ServiceManagedByAnother"
	// BlockerServiceMismatch: a Service that the strategy names selects by labels that the template does not have.
	BlockerServiceMismatch BlockerCode = "ServiceMismatch"
	// BlockerBeingDeleted: the Rollout is being deleted.
	BlockerBeingDeleted BlockerCode = "BeingDeleted"
)

// Blocker is one reason why a Rollout does not go on.
type Blocker struct {
	// code names the reason, for machines.
	Code BlockerCode `json:"code" protobuf:"bytes,1,opt,name=code,casttype=BlockerCode"`

	// since is when it began; unset if that is not known.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty" protobuf:"bytes,2,opt,name=since"`

	// until is when it will end by itself; unset if it will not, or if that is not known.
	// +optional
	Until *metav1.MicroTime `json:"until,omitempty" protobuf:"bytes,3,opt,name=until"`

	// message says what it is, in a sentence for people.
	Message string `json:"message" protobuf:"bytes,4,opt,name=message"`

	// next is the call that would move the Rollout on, as a command line of kubectl; empty if there is
	// nothing to call.
	// +optional
	Next string `json:"next,omitempty" protobuf:"bytes,5,opt,name=next"`

	// pods are the names of the pods concerned, at most 10.
	// +optional
	// +listType=atomic
	Pods []string `json:"pods,omitempty" protobuf:"bytes,6,rep,name=pods"`
}
