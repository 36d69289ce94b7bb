// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The bodies of the verbs. Every field is always serialised, so that admission policies in CEL can
// read it without asking whether it is there.

// VerbStatus is the state of the Rollout that a verb acts on: in the answer to a GET what a write
// would act on now, in the answer to a write what it led to.
type VerbStatus struct {
	// phase is the phase of the Rollout.
	Phase RolloutPhase `json:"phase" protobuf:"bytes,1,opt,name=phase,casttype=RolloutPhase"`

	// message says why the phase is what it is.
	Message string `json:"message" protobuf:"bytes,2,opt,name=message"`

	// currentStepIndex is the index, from 0, of the step that the update is at; null if the strategy
	// has no steps.
	CurrentStepIndex *int32 `json:"currentStepIndex" protobuf:"varint,3,opt,name=currentStepIndex"`

	// revision is the revision of the template.
	Revision int64 `json:"revision" protobuf:"varint,4,opt,name=revision"`

	// currentPodHash is the hash of the template.
	CurrentPodHash string `json:"currentPodHash" protobuf:"bytes,5,opt,name=currentPodHash"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Promotion ends the current pause or step of an update, or with full all of them. It is the body of
// rollouts/promote. Refused with 409 Conflict if no update is in flight, if it was aborted (full clears
// the abort), if spec.paused is set, or if the last change of the spec is not observed yet.
type Promotion struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// full skips all remaining steps, pauses included, and clears an abort. Default false: one step.
	// +optional
	Full bool `json:"full" protobuf:"varint,2,opt,name=full"`

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	// +optional
	Status VerbStatus `json:"status" protobuf:"bytes,3,opt,name=status"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Abort takes an update back: all pods return to the stable revision, and the Rollout is Degraded until
// a retry or a new template. It is the body of rollouts/abort. Refused with 409 Conflict if no update is
// in flight, if there is no stable revision yet, or if the update was aborted already.
type Abort struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	// +optional
	Status VerbStatus `json:"status" protobuf:"bytes,2,opt,name=status"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Retry starts an aborted update again at its first step. It is the body of rollouts/retry. Refused with
// 409 Conflict if the update was not aborted, or if the last change of the spec is not observed yet.
type Retry struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the Rollout. uid and resourceVersion, if set, must be those of the Rollout.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// status is the state of the Rollout. Read-only: what a client sends here is ignored.
	// +optional
	Status VerbStatus `json:"status" protobuf:"bytes,2,opt,name=status"`
}
