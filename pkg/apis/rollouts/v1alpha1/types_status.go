// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RolloutPhase is the state of a Rollout in one word.
// +enum
type RolloutPhase string

const (
	// RolloutPhaseProgressing: pods are being moved, or a change has not been observed yet.
	RolloutPhaseProgressing RolloutPhase = "Progressing"
	// RolloutPhasePaused: an update waits in a pause step, or spec.paused is set.
	RolloutPhasePaused RolloutPhase = "Paused"
	// RolloutPhaseHealthy: all pods are of the current revision and available.
	RolloutPhaseHealthy RolloutPhase = "Healthy"
	// RolloutPhaseDegraded: the update was aborted or has exceeded its deadline.
	RolloutPhaseDegraded RolloutPhase = "Degraded"
)

// RolloutStatus is what was last observed of a Rollout.
type RolloutStatus struct {
	// observedGeneration is the generation of the spec that the controller last acted on. While it is
	// lower than metadata.generation the rest of the status speaks of an older spec.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty" protobuf:"varint,1,opt,name=observedGeneration"`

	// phase is the state in one word: Progressing, Paused, Healthy or Degraded. It is a field
	// selector: status.phase=Paused.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty" protobuf:"bytes,2,opt,name=phase,casttype=RolloutPhase"`

	// message says in a sentence why the phase is what it is.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,3,opt,name=message"`

	// replicas is the number of pods of all revisions.
	// +optional
	Replicas int32 `json:"replicas,omitempty" protobuf:"varint,4,opt,name=replicas"`

	// updatedReplicas is the number of pods of the current revision.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas,omitempty" protobuf:"varint,5,opt,name=updatedReplicas"`

	// readyReplicas is the number of ready pods of all revisions; with blueGreen, of the one that clients are led to.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty" protobuf:"varint,6,opt,name=readyReplicas"`

	// availableReplicas is the number of available pods (ready for minReadySeconds) of all revisions; with blueGreen, of
	// the one that clients are led to.
	// +optional
	AvailableReplicas int32 `json:"availableReplicas,omitempty" protobuf:"varint,7,opt,name=availableReplicas"`

	// HPAReplicas is the number of pods that the scale subresource reports to autoscalers: of all revisions; with
	// blueGreen, of the one that clients are led to.
	// +optional
	HPAReplicas int32 `json:"HPAReplicas,omitempty" protobuf:"varint,8,opt,name=hPAReplicas"`

	// selector is spec.selector as a string, for the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty" protobuf:"bytes,9,opt,name=selector"`

	// revision counts the changes of the template: 1 at creation. The ReplicaSet that runs it carries
	// it as the annotation sluice.dev/revision. It is stamped in the write that changes the template.
	// +optional
	Revision int64 `json:"revision,omitempty" protobuf:"varint,10,opt,name=revision"`

	// currentPodHash names the ReplicaSet of spec.template: the value of its label
	// sluice.dev/pod-template-hash. It is stamped in the write that changes the template.
	// +optional
	CurrentPodHash string `json:"currentPodHash,omitempty" protobuf:"bytes,11,opt,name=currentPodHash"`

	// stableRS is the hash of the revision that an abort goes back to: the one that was last fully
	// promoted. Empty until the first revision has been fully available.
	// +optional
	StableRS string `json:"stableRS,omitempty" protobuf:"bytes,12,opt,name=stableRS"`

	// currentStepIndex is the index, from 0, of the step that the update is at. It equals the number
	// of steps when all are done. Unset if the strategy has no steps.
	// +optional
	CurrentStepIndex *int32 `json:"currentStepIndex,omitempty" protobuf:"varint,13,opt,name=currentStepIndex"`

	// currentStepHash identifies the list of steps that currentStepIndex counts in.
	// +optional
	CurrentStepHash string `json:"currentStepHash,omitempty" protobuf:"bytes,14,opt,name=currentStepHash"`

	// collisionCount counts how often the name of a new ReplicaSet was already taken by one that is
	// not ours; it goes into the hash.
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty" protobuf:"varint,15,opt,name=collisionCount"`

	// pauseConditions are the pauses that the update waits in, with the time each began.
	// +optional
	// +listType=map
	// +listMapKey=reason
	PauseConditions []PauseCondition `json:"pauseConditions,omitempty" protobuf:"bytes,16,rep,name=pauseConditions"`

	// controllerPause is true while the update waits in a pause that the controller began, as opposed
	// to spec.paused.
	// +optional
	ControllerPause bool `json:"controllerPause,omitempty" protobuf:"varint,17,opt,name=controllerPause"`

	// abort is true after the update was aborted, until a retry, a full promotion or a new template.
	// +optional
	Abort bool `json:"abort,omitempty" protobuf:"varint,18,opt,name=abort"`

	// abortedAt is when the update was aborted.
	// +optional
	AbortedAt *metav1.MicroTime `json:"abortedAt,omitempty" protobuf:"bytes,19,opt,name=abortedAt"`

	// promoteFull is true while the update skips all its remaining steps, as asked by a promote with
	// full set. It ends when the current revision has become stable.
	// +optional
	PromoteFull bool `json:"promoteFull,omitempty" protobuf:"varint,20,opt,name=promoteFull"`

	// canary is the state of the canary strategy.
	// +optional
	Canary *CanaryStatus `json:"canary,omitempty" protobuf:"bytes,21,opt,name=canary"`

	// conditions are the latest observations, by type: Available, Progressing, Paused, Completed,
	// Healthy, and for generic waiters Ready, Reconciling and Stalled.
	// +optional
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +listType=map
	// +listMapKey=type
	Conditions []RolloutCondition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type" protobuf:"bytes,22,rep,name=conditions"`

	// restartedAt is the spec.restartAt whose pods have all been replaced.
	// +optional
	RestartedAt *metav1.Time `json:"restartedAt,omitempty" protobuf:"bytes,23,opt,name=restartedAt"`

	// actions are the newest 20 calls of verbs that did something, oldest first, as the server attests
	// them. Nobody else can write them.
	// +optional
	// +listType=atomic
	Actions []RolloutAction `json:"actions,omitempty" protobuf:"bytes,24,rep,name=actions"`

	// approvals are the approvals that count at the current step; one that has expired is taken out. The
	// server stamps them; nobody else can write them.
	// +optional
	// +listType=atomic
	Approvals []RolloutApproval `json:"approvals,omitempty" protobuf:"bytes,25,rep,name=approvals"`

	// templateAuthors are the users that have changed spec.template since a revision last became stable, the
	// newest last and at most 50. "*" in front of them stands for others, who are not named: nobody can then
	// be told to be none of them. The server stamps them; nobody else can write them.
	// +optional
	// +listType=atomic
	TemplateAuthors []string `json:"templateAuthors,omitempty" protobuf:"bytes,26,rep,name=templateAuthors"`

	// blueGreen is the state of the blueGreen strategy.
	// +optional
	BlueGreen *BlueGreenStatus `json:"blueGreen,omitempty" protobuf:"bytes,27,opt,name=blueGreen"`

	// workloadObservedGeneration is the generation of the Deployment of spec.workloadRef whose template was last looked
	// at; 0 without one.
	// +optional
	WorkloadObservedGeneration int64 `json:"workloadObservedGeneration,omitempty" protobuf:"varint,28,opt,name=workloadObservedGeneration"`

	// workloadScaledDown is the uid of the Deployment that was scaled down, once that is done: it is not scaled again.
	// +optional
	WorkloadScaledDown types.UID `json:"workloadScaledDown,omitempty" protobuf:"bytes,29,opt,name=workloadScaledDown,casttype=k8s.io/apimachinery/pkg/types.UID"`
}

// ActionOutcome says what a verb did.
// +enum
type ActionOutcome string

const (
	// ActionDone: what the verb is for.
	ActionDone ActionOutcome = "done"
	// ActionApproved: the promote was counted as an approval, of which more are needed; the step is
	// unchanged.
	ActionApproved ActionOutcome = "approved"
	// ActionOverridden: done without the approvals that were asked for, by the right to override.
	ActionOverridden ActionOutcome = "overridden"
)

// RolloutAction is one call of a verb, as the server attests it.
type RolloutAction struct {
	// verb is the subresource that was called: promote, abort, retry, pause, resume, restart or undo.
	Verb string `json:"verb" protobuf:"bytes,1,opt,name=verb"`

	// outcome says what it did: done, approved (one more approval, the step unchanged) or overridden
	// (done without the approvals asked for).
	Outcome ActionOutcome `json:"outcome" protobuf:"bytes,2,opt,name=outcome,casttype=ActionOutcome"`

	// user is who called.
	User string `json:"user" protobuf:"bytes,3,opt,name=user"`

	// groupsDigest identifies the groups that user was in: the first 16 hexadecimal digits of the
	// SHA-256 of their sorted names, each followed by a line feed.
	// +optional
	GroupsDigest string `json:"groupsDigest,omitempty" protobuf:"bytes,4,opt,name=groupsDigest"`

	// impersonator is who called in the name of user, if anybody did. It is known for calls to this server
	// itself only: through the cluster's own API server only its audit log has it, under the same auditID.
	// +optional
	Impersonator string `json:"impersonator,omitempty" protobuf:"bytes,5,opt,name=impersonator"`

	// auditID is the ID of the request in the audit logs, cut to 64 characters. A caller may have chosen
	// it, so it leads to the record, and proves nothing.
	// +optional
	AuditID string `json:"auditID,omitempty" protobuf:"bytes,6,opt,name=auditID"`

	// requestID is what the caller sent to make the call safe to repeat.
	// +optional
	RequestID string `json:"requestID,omitempty" protobuf:"bytes,7,opt,name=requestID"`

	// bodyDigest tells whether a repeated requestID came with the same body.
	// +optional
	BodyDigest string `json:"bodyDigest,omitempty" protobuf:"bytes,8,opt,name=bodyDigest"`

	// reason is why, in the words of the caller.
	// +optional
	Reason string `json:"reason,omitempty" protobuf:"bytes,9,opt,name=reason"`

	// fromStep is the step, from 0, that the update was at; unset if the strategy has no steps.
	// +optional
	FromStep *int32 `json:"fromStep,omitempty" protobuf:"varint,10,opt,name=fromStep"`

	// toStep is the step that it is at since.
	// +optional
	ToStep *int32 `json:"toStep,omitempty" protobuf:"varint,11,opt,name=toStep"`

	// revision is the revision that the call led to; the one that it found, unless the verb is undo.
	Revision int64 `json:"revision" protobuf:"varint,12,opt,name=revision"`

	// podHash is the hash of that revision.
	// +optional
	PodHash string `json:"podHash,omitempty" protobuf:"bytes,13,opt,name=podHash"`

	// phase is the phase that the call led to.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty" protobuf:"bytes,14,opt,name=phase,casttype=RolloutPhase"`

	// message says what the call did, in a sentence.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,15,opt,name=message"`

	// time is when.
	Time metav1.MicroTime `json:"time" protobuf:"bytes,16,opt,name=time"`
}

// RolloutApproval is a promote that counts towards the approval of a step.
type RolloutApproval struct {
	// user is who approved.
	User string `json:"user" protobuf:"bytes,1,opt,name=user"`

	// revision is the revision that was approved.
	Revision int64 `json:"revision" protobuf:"varint,2,opt,name=revision"`

	// stepIndex is the step, from 0, that was approved.
	StepIndex int32 `json:"stepIndex" protobuf:"varint,3,opt,name=stepIndex"`

	// stepHash is the list of steps that stepIndex counts in: status.currentStepHash at the time.
	StepHash string `json:"stepHash" protobuf:"bytes,4,opt,name=stepHash"`

	// time is when.
	Time metav1.MicroTime `json:"time" protobuf:"bytes,5,opt,name=time"`
}

// PauseReason says what an update waits for.
// +enum
type PauseReason string

const (
	// PauseReasonCanaryPauseStep: the update is at a pause step of the canary strategy.
	PauseReasonCanaryPauseStep PauseReason = "CanaryPauseStep"
	// PauseReasonBlueGreenPause: the new revision of a blueGreen update is available and waits to be promoted.
	PauseReasonBlueGreenPause PauseReason = "BlueGreenPause"
)

// PauseCondition is a pause that the update waits in.
type PauseCondition struct {
	// reason says what the update waits for: CanaryPauseStep or BlueGreenPause.
	Reason PauseReason `json:"reason" protobuf:"bytes,1,opt,name=reason,casttype=PauseReason"`

	// startTime is when the pause began. A timed pause ends its duration after this, never before.
	StartTime metav1.MicroTime `json:"startTime" protobuf:"bytes,2,opt,name=startTime"`
}

// CanaryStatus is the state of the canary strategy.
type CanaryStatus struct {
	// weights is the share of pods wanted now for the new and for the stable revision.
	// +optional
	Weights *CanaryWeights `json:"weights,omitempty" protobuf:"bytes,1,opt,name=weights"`
}

// BlueGreenStatus is the state of the blueGreen strategy.
type BlueGreenStatus struct {
	// activeSelector is the hash of the revision that activeService leads to; empty while it leads to none.
	// +optional
	ActiveSelector string `json:"activeSelector,omitempty" protobuf:"bytes,1,opt,name=activeSelector"`

	// previewSelector is the hash of the revision that previewService leads to; empty while it leads to none.
	// +optional
	PreviewSelector string `json:"previewSelector,omitempty" protobuf:"bytes,2,opt,name=previewSelector"`

	// scaleUpPreviewCheckPoint is true once the update was promoted, until clients are led to its revision: its pods are
	// brought from previewReplicaCount to replicas before that.
	// +optional
	ScaleUpPreviewCheckPoint bool `json:"scaleUpPreviewCheckPoint,omitempty" protobuf:"varint,3,opt,name=scaleUpPreviewCheckPoint"`
}

// CanaryWeights are the two sides of an update. They add up to 100.
type CanaryWeights struct {
	// canary is the side of the new revision.
	Canary WeightDestination `json:"canary" protobuf:"bytes,1,opt,name=canary"`

	// stable is the side of the stable revision.
	Stable WeightDestination `json:"stable" protobuf:"bytes,2,opt,name=stable"`
}

// WeightDestination is a revision and its share.
type WeightDestination struct {
	// weight is the share wanted. Unit: percent. Range 0 to 100.
	Weight int32 `json:"weight" protobuf:"varint,1,opt,name=weight"`

	// podTemplateHash is the hash of the revision.
	// +optional
	PodTemplateHash string `json:"podTemplateHash,omitempty" protobuf:"bytes,2,opt,name=podTemplateHash"`
}

// RolloutConditionType names a condition.
type RolloutConditionType string

const (
	// RolloutAvailable: at least spec.replicas pods, of whatever revision, are available.
	RolloutAvailable RolloutConditionType = "Available"
	// RolloutProgressing: the update moves. Unknown in a pause; False when it was aborted or has
	// exceeded its deadline.
	RolloutProgressing RolloutConditionType = "Progressing"
	// RolloutPaused: the update waits in a pause, or spec.paused is set.
	RolloutPaused RolloutConditionType = "Paused"
	// RolloutCompleted: the current revision is the stable one. Says nothing of availability.
	RolloutCompleted RolloutConditionType = "Completed"
	// RolloutHealthy: the phase is Healthy.
	RolloutHealthy RolloutConditionType = "Healthy"
	// RolloutReady is what generic waiters look at: True when Healthy.
	RolloutReady RolloutConditionType = "Ready"
	// RolloutReconciling is True while the Rollout moves towards its spec by itself.
	RolloutReconciling RolloutConditionType = "Reconciling"
	// RolloutStalled is True when the Rollout is Degraded and will not go on by itself.
	RolloutStalled RolloutConditionType = "Stalled"
	// RolloutReplicaFailure: pods of the current revision cannot be created; the message is the
	// ReplicaSet's.
	RolloutReplicaFailure RolloutConditionType = "ReplicaFailure"
	// RolloutHeld: the Rollout is not acted on because its ReplicaSets carry a higher revision than
	// its own status, as after an older copy of the store was put back.
	RolloutHeld RolloutConditionType = "Held"
	// RolloutInvalidSpec: the spec names something that cannot be used, as a Service that does not exist. Unknown for
	// a moment, then True; it is taken away when that is put right.
	RolloutInvalidSpec RolloutConditionType = "InvalidSpec"
	// RolloutRestarting: pods older than spec.restartAt are being replaced; the message says what that
	// waits for.
	RolloutRestarting RolloutConditionType = "Restarting"
	// RolloutWorkloadScaledUp: the Deployment that was scaled down for this Rollout has pods again, so that there are
	// twice as many as wanted. It is left alone.
	RolloutWorkloadScaledUp RolloutConditionType = "WorkloadScaledUp"
)

// RolloutCondition is one observation of a Rollout.
type RolloutCondition struct {
	// type names the condition.
	Type RolloutConditionType `json:"type" protobuf:"bytes,1,opt,name=type,casttype=RolloutConditionType"`

	// status is True, False or Unknown.
	Status corev1.ConditionStatus `json:"status" protobuf:"bytes,2,opt,name=status,casttype=k8s.io/api/core/v1.ConditionStatus"`

	// lastUpdateTime is when this condition last changed in any way. For Progressing it is when
	// progress was last seen: the progress deadline counts from it.
	// +optional
	LastUpdateTime metav1.MicroTime `json:"lastUpdateTime,omitempty" protobuf:"bytes,3,opt,name=lastUpdateTime"`

	// lastTransitionTime is when the status last changed from one value to another.
	// +optional
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitempty" protobuf:"bytes,4,opt,name=lastTransitionTime"`

	// reason is why, in one word for machines.
	// +optional
	Reason string `json:"reason,omitempty" protobuf:"bytes,5,opt,name=reason"`

	// message is why, in a sentence for people.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,6,opt,name=message"`
}
