// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutPlan says what will happen to a Rollout, as reckoned by the engine that runs it. It is the answer
// of rollouts/plan: to a GET for the Rollout as it is stored, to a POST for what it would be if it were
// changed as spec says. Nothing is stored.
type RolloutPlan struct {
	metav1.TypeMeta
	// metadata names the Rollout.
	metav1.ObjectMeta

	// spec is what would be changed. Empty for the Rollout as it is stored.
	Spec RolloutPlanSpec

	// status is the plan. Read-only: what a client sends here is ignored.
	Status RolloutPlanStatus
}

// RolloutPlanSpec is a change of a Rollout. What is not set stays as it is.
type RolloutPlanSpec struct {
	// template is the template that the Rollout would have. The cluster's own API server validates and
	// defaults it, as it would on the change itself.
	Template *corev1.PodTemplateSpec

	// strategy is the strategy that the Rollout would have.
	Strategy *RolloutStrategy

	// replicas is the number of pods that the Rollout would have. Unit: pods. Minimum 0.
	Replicas *int32
}

// RolloutPlanStatus is a plan.
type RolloutPlanStatus struct {
	// revision is the revision that the plan rolls out.
	Revision int64

	// newRevision is true if the change starts a revision that the Rollout has not had yet.
	NewRevision bool

	// steps are what will happen, in this order. Empty if nothing will.
	Steps []PlannedStep

	// peakReplicas is the highest number of pods, of all revisions, that will exist at one time. Unit: pods.
	// Pods that are terminating are not counted, as maxSurge does not count them.
	PeakReplicas int32

	// phase is the phase that the plan ends in if people do their part: Healthy, or Degraded after an abort.
	Phase RolloutPhase

	// message says in a sentence what the plan is, or why there is nothing to be done.
	Message string

	// waits is the sum of the timed pauses that are still to be waited for; what pods take to become
	// available, and people to decide, comes on top.
	Waits *metav1.Duration
}

// PlannedAction is what a step of a plan does.
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
	Index *int32

	// action is what it does: SetWeight, Pause, Complete or Deploy.
	Action PlannedAction

	// weight is the share of pods wanted of the new revision during the step. Unit: percent.
	Weight int32

	// stableReplicas is the number of pods of all other revisions at the end of the step. Unit: pods.
	StableReplicas int32

	// canaryReplicas is the number of pods of the new revision at the end of the step. Unit: pods.
	CanaryReplicas int32

	// peakReplicas is the highest number of pods that will exist at one time in the step. Unit: pods.
	// Pods that are terminating are not counted, as maxSurge does not count them.
	PeakReplicas int32

	// duration is how long a timed pause still has to last, or how long pods of earlier revisions are still kept.
	Duration *metav1.Duration

	// untilPromoted is true for a pause that ends with a promote.
	UntilPromoted bool

	// approval is whose promotes the pause asks for.
	Approval *PauseApproval
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutExplanation says why a Rollout stands where it stands. It is the answer of rollouts/explain.
type RolloutExplanation struct {
	metav1.TypeMeta
	// metadata names the Rollout.
	metav1.ObjectMeta

	// status is the explanation.
	Status RolloutExplanationStatus
}

// RolloutExplanationStatus is an explanation.
type RolloutExplanationStatus struct {
	// phase is the phase of the Rollout.
	Phase RolloutPhase

	// message says why the phase is what it is.
	Message string

	// currentStepIndex is the index, from 0, of the step that the update is at; unset without steps.
	CurrentStepIndex *int32

	// revision is the revision of the template.
	Revision int64

	// blockers are what keeps the Rollout from going on, the one to look at first in front. Empty if
	// nothing does: it is Healthy, or moves by itself.
	Blockers []Blocker
}

// BlockerCode names what keeps a Rollout from going on, for machines.
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
	Code BlockerCode

	// since is when it began; unset if that is not known.
	Since *metav1.MicroTime

	// until is when it will end by itself; unset if it will not, or if that is not known.
	Until *metav1.MicroTime

	// message says what it is, in a sentence for people.
	Message string

	// next is the call that would move the Rollout on, as a command line of kubectl; empty if there is
	// nothing to call.
	Next string

	// pods are the names of the pods concerned, at most 10.
	Pods []string
}
