// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The bodies of the verbs. Every field is always serialised, so that admission policies in CEL can
// read it without asking whether it is there.

// VerbStatus is the state of the Rollout that a verb acts on: in the answer to a GET what a write
// would act on now, in the answer to a write what it led to.
type VerbStatus struct {
	// phase is the phase of the Rollout.
	Phase RolloutPhase

	// message says why the phase is what it is.
	Message string

	// currentStepIndex is the index, from 0, of the step that the update is at; null if the strategy
	// has no steps.
	CurrentStepIndex *int32

	// revision is the revision of the template.
	Revision int64

	// currentPodHash is the hash of the template.
	CurrentPodHash string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Promotion ends the current pause or step of an update, or with full all of them. It is the body of
// rollouts/promote. Refused with 409 Conflict if no update is in flight, if it was aborted (full clears
// the abort), if spec.paused is set, or if the last change of the spec is not observed yet.
type Promotion struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

	// full skips all remaining steps, pauses included, and clears an abort. Default false: one step.
	Full bool

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Abort takes an update back: all pods return to the stable revision, and the Rollout is Degraded until
// a retry or a new template. It is the body of rollouts/abort. Refused with 409 Conflict if no update is
// in flight, if there is no stable revision yet, or if the update was aborted already.
type Abort struct {
	metav1.TypeMeta
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	metav1.ObjectMeta

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

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	Status VerbStatus
}
