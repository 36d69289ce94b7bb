// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The bodies of the verbs. Every field is always serialised, so that admission policies in CEL can
// read it without asking whether it is there.

// VerbStatus is the state of the Rollout that a verb acts on: in the answer to a GET what a write
// would act on now, in the answer to a write what it led to.
type VerbStatus struct {
	// phase is the phase of the Rollout.
	Phase RolloutPhase

	// message says why the phase is what it is; in the answer to a write, what was done.
	Message string

	// currentStepIndex is the index, from 0, of the step that the update is at; null if the strategy
	// has no steps.
	CurrentStepIndex *int32

	// revision is the revision of the template.
	Revision int64

	// currentPodHash is the hash of the template.
	CurrentPodHash string

	// action is what was recorded of the call in status.actions of the Rollout; null in the answer to a
	// GET. With dryRun=All it is what would have been.
	Action *RolloutAction
}

// VerbRequest is what every verb takes besides its own options.
type VerbRequest struct {
	// expect is what the Rollout must be for the verb to be performed: promote what was reviewed. If one
	// of its fields does not hold, nothing is done: 409 Conflict, with a cause for each.
	Expect VerbExpectation

	// requestID makes a call safe to repeat. The newest 20 that did something are remembered: the same ID
	// by the same user with the same body is answered with what was done then, and nothing is done again.
	// The same ID otherwise is refused with 409 Conflict. At most 64 characters.
	RequestID string

	// reason is why, for people: it is kept with the action, and goes into the Event. At most 1,024
	// characters.
	Reason string
}

// VerbExpectation is what a caller expects of the Rollout. Fields that are null or empty expect nothing.
type VerbExpectation struct {
	// revision is status.revision.
	Revision *int64

	// podHash is status.currentPodHash.
	PodHash string

	// stepIndex is status.currentStepIndex, from 0.
	StepIndex *int32

	// uid is metadata.uid.
	UID types.UID

	// resourceVersion is metadata.resourceVersion.
	ResourceVersion string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Promotion ends the current pause or step of an update, or with full all of them. It is the body of
// rollouts/promote. Refused with 409 Conflict if no update is in flight, if it was aborted (full clears
// the abort), if spec.paused is set, or if the last change of the spec is not observed yet. At a step that
// asks for approval it counts as one, and ends the step when it is the last that was missing; refused with
// 403 Forbidden if the caller's approval does not count there.
type Promotion struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus

	// full skips all remaining steps, pauses included, and clears an abort. Default false: one step. If that
	// skips an approval that has not been given, it needs the verb override on rollouts.
	Full bool

	// override ends a step without the approvals that it asks for. It needs the verb override on rollouts.
	// Default false.
	Override bool
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Abort takes an update back: all pods return to the stable revision, and the Rollout is Degraded until
// a retry or a new template. It is the body of rollouts/abort. Refused with 409 Conflict if no update is
// in flight, if there is no stable revision yet, or if the update was aborted already.
type Abort struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Retry starts an aborted update again at its first step. It is the body of rollouts/retry. Refused with
// 409 Conflict if the update was not aborted, or if the last change of the spec is not observed yet.
type Retry struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Pause freezes the Rollout where it is: it sets spec.paused. It is the body of rollouts/pause. Refused with
// 409 Conflict if spec.paused is set already.
type Pause struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Resume ends a Pause: it unsets spec.paused. It does not promote: a pause step is still waited in. It is the
// body of rollouts/resume. Refused with 409 Conflict if spec.paused is not set.
type Resume struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Restart replaces pods, a few at a time, by pods of the same revision: it sets spec.restartAt. It is the body
// of rollouts/restart. Refused with 409 Conflict if the same or a later restart was asked for already.
type Restart struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus

	// at is when: pods created before it are replaced, from then on. Default: now, rounded up to a whole
	// second, which is how precisely the age of a pod is known.
	At *metav1.Time
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Undo puts the template of an earlier revision back into the spec, which starts a new revision; or, if that
// is the stable one, ends the update in flight. It is the body of rollouts/undo. Refused with 409 Conflict if
// there is no such revision any more, if it is the current one, or if the last change of the spec is not
// observed yet.
type Undo struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	VerbRequest

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus

	// toRevision is the revision to go back to. Default, and 0: the last one that was fully promoted before
	// the current one. A revision that was aborted is gone back to only if named here.
	ToRevision int64
}
