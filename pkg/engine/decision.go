// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Snapshot is all that Decide may look at. It is never modified.
type Snapshot struct {
	// Rollout is the Rollout as last stored.
	Rollout *rollouts.Rollout
	// ReplicaSets are those of the Rollout's namespace that it controls, and those without any
	// controller that match its selector and carry the hash label: these may be adopted. Their
	// order does not matter.
	ReplicaSets []*appsv1.ReplicaSet
	// Pods are those that these ReplicaSets control, as far as the caches keep them.
	Pods []*corev1.Pod
	// Services are those of the namespace that the Rollout names, and those that carry its name as the annotation
	// sluice.dev/managed-by-rollout. Their order does not matter.
	Services []*corev1.Service
	// Workload is the Deployment that the Rollout takes its template from; nil if it names none, or if that does not
	// exist.
	Workload *appsv1.Deployment
	// EvictionRefused is why the host refused the last eviction of the restart in progress; empty if it
	// did not.
	EvictionRefused string
	// Now is the time of the decision.
	Now time.Time
}

// Decision is what is to be written, in this order: Adopt, Create, Scale, Pods, Services, Workload, Evict, Delete,
// Status; or Status first, if StatusFirst is set. The zero Decision writes nothing.
type Decision struct {
	// Adopt are ReplicaSets to be given a controller reference to the Rollout.
	Adopt []ReplicaSetRef
	// Create is the ReplicaSet of a new revision, complete with name, labels, annotations, owner
	// reference and size; nil if there is none to create.
	Create *appsv1.ReplicaSet
	// Scale are changes of existing ReplicaSets, in the order in which they must be written.
	Scale []ReplicaSetChange
	// Pods are changes of the metadata of pods.
	Pods []PodChange
	// Services are Services to be led to another ReplicaSet, in the order in which they must be written.
	Services []ServiceChange
	// Workload is the change of the size of the Deployment that the template is taken from; nil if that stays.
	Workload *WorkloadChange
	// Delete are old ReplicaSets without pods beyond the history limit.
	Delete []ReplicaSetRef
	// Evict are pods to be evicted, which a PodDisruptionBudget may refuse.
	Evict []PodRef
	// Status is the whole new status; nil if the stored one holds.
	Status *rollouts.RolloutStatus
	// StatusFirst is true if Status decides what the other writes act on, as the next step: then it must
	// be written before them, and if that fails nothing else may be. A crash in between then never takes
	// pods back to an earlier step.
	StatusFirst bool
	// Events are to be recorded on the Rollout after the writes succeeded.
	Events []Event
	// RequeueAfter is when to decide again though nothing was observed to change; 0 if never.
	RequeueAfter time.Duration
}

// ReplicaSetRef names one state of one ReplicaSet: a write to it fails if it has changed since.
type ReplicaSetRef struct {
	Name            string
	UID             types.UID
	ResourceVersion string
}

// ReplicaSetChange is what is to be changed on a ReplicaSet: all of it in one write.
type ReplicaSetChange struct {
	ReplicaSetRef
	// Replicas is the new size. Unit: pods. It may equal the old one, when only annotations change.
	Replicas int32
	// MinReadySeconds is the new value of spec.minReadySeconds of the ReplicaSet.
	MinReadySeconds int32
	// Annotations are to be set; others are left alone.
	Annotations map[string]string
	// Template changes the metadata of spec.template of the ReplicaSet: what its pods get from now on; nil if that
	// stays.
	Template *MetadataChange
}

// MetadataChange is what is to be changed of labels and annotations; others are left alone.
type MetadataChange struct {
	SetLabels, SetAnnotations       map[string]string
	RemoveLabels, RemoveAnnotations []string
}

// PodChange is what is to be changed of the metadata of a pod, which lives on.
type PodChange struct {
	PodRef
	MetadataChange
}

// ServiceChange leads a Service to the pods of a ReplicaSet, in one write that fails if the Service has changed
// since.
type ServiceChange struct {
	Name            string
	UID             types.UID
	ResourceVersion string
	// Hash is the value that the selector gets for the hash label; empty takes the label out of it.
	Hash string
	// ManagedBy is the new value of the annotation sluice.dev/managed-by-rollout; empty takes it off.
	ManagedBy string
}

// WorkloadChange is a new size of a Deployment, in one write that fails if it has changed since.
type WorkloadChange struct {
	Name            string
	UID             types.UID
	ResourceVersion string
	// Replicas is the new size. Unit: pods.
	Replicas int32
	// Before is the value of the annotation sluice.dev/replicas-before: what the size was before the first change.
	Before int32
}

// PodRef names one pod, and no other of the same name.
type PodRef struct {
	Name string
	UID  types.UID
}

// Event is something that people should find in the events of a Rollout.
type Event struct {
	// Warning is true for what needs attention, false for what is normal.
	Warning bool
	// Reason is one word for machines, as RolloutStepCompleted.
	Reason string
	// Message is a sentence for people.
	Message string
}

// Refusal is the answer to a request that is impossible now. It is served as 409 Conflict.
type Refusal struct {
	// Reason is the machine-readable cause: one of the Reason constants.
	Reason string
	// Message says why, and what would be possible.
	Message string
	// RetryAfter, if not 0, is when the same request may succeed without anything else done.
	RetryAfter time.Duration
}

// Error makes a Refusal an error.
func (r *Refusal) Error() string { return r.Message }
