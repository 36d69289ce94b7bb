// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RolloutPhase is the state of a Rollout in one word.
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
	ObservedGeneration int64

	// phase is the state in one word: Progressing, Paused, Healthy or Degraded. It is a field
	// selector: status.phase=Paused.
	Phase RolloutPhase

	// message says in a sentence why the phase is what it is.
	Message string

	// replicas is the number of pods of all revisions.
	Replicas int32

	// updatedReplicas is the number of pods of the current revision.
	UpdatedReplicas int32

	// readyReplicas is the number of ready pods of all revisions; with blueGreen, of the one that clients are led to.
	ReadyReplicas int32

	// availableReplicas is the number of available pods (ready for minReadySeconds) of all revisions; with blueGreen, of
	// the one that clients are led to.
	AvailableReplicas int32

	// HPAReplicas is the number of pods that the scale subresource reports to autoscalers: of all revisions; with
	// blueGreen, of the one that clients are led to.
	HPAReplicas int32

	// selector is spec.selector as a string, for the scale subresource.
	Selector string

	// revision counts the changes of the template: 1 at creation. The ReplicaSet that runs it carries
	// it as the annotation sluice.dev/revision. It is stamped in the write that changes the template.
	Revision int64

	// currentPodHash names the ReplicaSet of spec.template: the value of its label
	// sluice.dev/pod-template-hash. It is stamped in the write that changes the template.
	CurrentPodHash string

	// stableRS is the hash of the revision that an abort goes back to: the one that was last fully
	// promoted. Empty until the first revision has been fully available.
	StableRS string

	// currentStepIndex is the index, from 0, of the step that the update is at. It equals the number
	// of steps when all are done. Unset if the strategy has no steps.
	CurrentStepIndex *int32

	// currentStepHash identifies the list of steps that currentStepIndex counts in.
	CurrentStepHash string

	// collisionCount counts how often the name of a new ReplicaSet was already taken by one that is
	// not ours; it goes into the hash.
	CollisionCount *int32

	// pauseConditions are the pauses that the update waits in, with the time each began.
	PauseConditions []PauseCondition

	// controllerPause is true while the update waits in a pause that the controller began, as opposed
	// to spec.paused.
	ControllerPause bool

	// abort is true after the update was aborted, until a retry, a full promotion or a new template.
	Abort bool

	// abortedAt is when the update was aborted.
	AbortedAt *metav1.MicroTime

	// promoteFull is true while the update skips all its remaining steps, as asked by a promote with
	// full set. It ends when the current revision has become stable.
	PromoteFull bool

	// canary is the state of the canary strategy.
	Canary *CanaryStatus

	// conditions are the latest observations, by type: Available, Progressing, Paused, Completed,
	// Healthy, and for generic waiters Ready, Reconciling and Stalled.
	Conditions []RolloutCondition

	// restartedAt is the spec.restartAt whose pods have all been replaced.
	RestartedAt *metav1.Time

	// actions are the newest 20 calls of verbs that did something, oldest first, as the server attests
	// them. Nobody else can write them.
	Actions []RolloutAction

	// approvals are the approvals that count at the current step; one that has expired is taken out. The
	// server stamps them; nobody else can write them.
	Approvals []RolloutApproval

	// templateAuthors are the users that have changed spec.template since a revision last became stable, the
	// newest last and at most 50. "*" in front of them stands for others, who are not named: nobody can then
	// be told to be none of them. The server stamps them; nobody else can write them.
	TemplateAuthors []string

	// blueGreen is the state of the blueGreen strategy.
	BlueGreen *BlueGreenStatus

	// workloadObservedGeneration is the generation of the Deployment of spec.workloadRef whose template was last looked
	// at; 0 without one.
	WorkloadObservedGeneration int64

	// workloadScaledDown is the uid of the Deployment that was scaled down, once that is done: it is not scaled again.
	WorkloadScaledDown types.UID
}

// ActionOutcome says what a verb did.
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
	Verb string

	// outcome says what it did: done, approved (one more approval, the step unchanged) or overridden
	// (done without the approvals asked for).
	Outcome ActionOutcome

	// user is who called.
	User string

	// groupsDigest identifies the groups that user was in: the first 16 hexadecimal digits of the
	// SHA-256 of their sorted names, each followed by a line feed.
	GroupsDigest string

	// impersonator is who called in the name of user, if anybody did. It is known for calls to this server
	// itself only: through the cluster's own API server only its audit log has it, under the same auditID.
	Impersonator string

	// auditID is the ID of the request in the audit logs, cut to 64 characters. A caller may have chosen
	// it, so it leads to the record, and proves nothing.
	AuditID string

	// requestID is what the caller sent to make the call safe to repeat.
	RequestID string

	// bodyDigest tells whether a repeated requestID came with the same body.
	BodyDigest string

	// reason is why, in the words of the caller.
	Reason string

	// fromStep is the step, from 0, that the update was at; unset if the strategy has no steps.
	FromStep *int32

	// toStep is the step that it is at since.
	ToStep *int32

	// revision is the revision that the call led to; the one that it found, unless the verb is undo.
	Revision int64

	// podHash is the hash of that revision.
	PodHash string

	// phase is the phase that the call led to.
	Phase RolloutPhase

	// message says what the call did, in a sentence.
	Message string

	// time is when.
	Time metav1.MicroTime
}

// RolloutApproval is a promote that counts towards the approval of a step.
type RolloutApproval struct {
	// user is who approved.
	User string

	// revision is the revision that was approved.
	Revision int64

	// stepIndex is the step, from 0, that was approved.
	StepIndex int32

	// stepHash is the list of steps that stepIndex counts in: status.currentStepHash at the time.
	StepHash string

	// time is when.
	Time metav1.MicroTime
}

// PauseReason says what an update waits for.
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
	Reason PauseReason

	// startTime is when the pause began. A timed pause ends its duration after this, never before.
	StartTime metav1.MicroTime
}

// CanaryStatus is the state of the canary strategy.
type CanaryStatus struct {
	// weights is the share of pods wanted now for the new and for the stable revision.
	Weights *CanaryWeights
}

// BlueGreenStatus is the state of the blueGreen strategy.
type BlueGreenStatus struct {
	// activeSelector is the hash of the revision that activeService leads to; empty while it leads to none.
	ActiveSelector string

	// previewSelector is the hash of the revision that previewService leads to; empty while it leads to none.
	PreviewSelector string

	// scaleUpPreviewCheckPoint is true once the update was promoted, until clients are led to its revision: its pods are
	// brought from previewReplicaCount to replicas before that.
	ScaleUpPreviewCheckPoint bool
}

// CanaryWeights are the two sides of an update. They add up to 100.
type CanaryWeights struct {
	// canary is the side of the new revision.
	Canary WeightDestination

	// stable is the side of the stable revision.
	Stable WeightDestination
}

// WeightDestination is a revision and its share.
type WeightDestination struct {
	// weight is the share wanted. Unit: percent. Range 0 to 100.
	Weight int32

	// podTemplateHash is the hash of the revision.
	PodTemplateHash string
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
	Type RolloutConditionType

	// status is True, False or Unknown.
	Status corev1.ConditionStatus

	// lastUpdateTime is when this condition last changed in any way. For Progressing it is when
	// progress was last seen: the progress deadline counts from it.
	LastUpdateTime metav1.MicroTime

	// lastTransitionTime is when the status last changed from one value to another.
	LastTransitionTime metav1.Time

	// reason is why, in one word for machines.
	Reason string

	// message is why, in a sentence for people.
	Message string
}
