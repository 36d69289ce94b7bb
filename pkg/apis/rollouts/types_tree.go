// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutTree is a Rollout with its revisions, their ReplicaSets and their pods, for people to look at. It
// has the name of the Rollout, is computed from the caches of the server, and is never stored: it can be
// got, listed and watched only. Its resourceVersion counts changes of trees, and is none of etcd's. Whoever
// may read it sees the names and states of the pods without any right on pods.
type RolloutTree struct {
	metav1.TypeMeta
	// metadata has the name, namespace, uid, labels and creation time of the Rollout.
	metav1.ObjectMeta

	// rollout is the Rollout itself.
	Rollout TreeRollout

	// revisions are what the Rollout has ReplicaSets of, the newest first.
	Revisions []TreeRevision
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutTreeList is a list of RolloutTrees.
type RolloutTreeList struct {
	metav1.TypeMeta
	// metadata is the standard list metadata.
	metav1.ListMeta

	// items is the list of RolloutTrees.
	Items []RolloutTree
}

// TreeRollout is the root of a tree.
type TreeRollout struct {
	// strategy is the strategy in one word: Canary.
	Strategy string

	// phase is the state in one word: Progressing, Paused, Healthy or Degraded. A change of the spec that is
	// not observed yet counts as progress.
	Phase RolloutPhase

	// message says why the phase is what it is.
	Message string

	// stepIndex is the index, from 0, of the step that the update is at; unset without steps.
	StepIndex *int32

	// steps is how many steps the strategy has.
	Steps int32

	// setWeight is the share of pods of the current revision that is wanted now. Unit: percent.
	SetWeight int32

	// actualWeight is the share of available pods that are of the current revision. Unit: percent.
	ActualWeight int32

	// replicas is spec.replicas of the Rollout. Unit: pods.
	Replicas int32

	// currentReplicas is the number of pods of all revisions. Unit: pods.
	CurrentReplicas int32

	// updatedReplicas is the number of pods of the current revision. Unit: pods.
	UpdatedReplicas int32

	// readyReplicas is the number of ready pods of all revisions. Unit: pods.
	ReadyReplicas int32

	// availableReplicas is the number of available pods of all revisions. Unit: pods.
	AvailableReplicas int32
}

// TreeRole is what a revision is to its Rollout.
type TreeRole string

const (
	// TreeRoleStable: the revision that an abort goes back to.
	TreeRoleStable TreeRole = "stable"
	// TreeRoleCanary: the revision that is on its way to replace the stable one.
	TreeRoleCanary TreeRole = "canary"
	// TreeRoleActive: the revision that clients of a blueGreen Rollout are led to.
	TreeRoleActive TreeRole = "active"
	// TreeRolePreview: the revision that is on its way to become active.
	TreeRolePreview TreeRole = "preview"
	// TreeRoleDelay: an earlier revision, whose pods are kept for a while.
	TreeRoleDelay TreeRole = "delay"
)

// TreeRevision is one revision of the template.
type TreeRevision struct {
	// revision is its number.
	Revision int64

	// replicaSets are those that run it: one, unless something is wrong.
	ReplicaSets []TreeReplicaSet
}

// TreeReplicaSet is a ReplicaSet of the Rollout.
type TreeReplicaSet struct {
	// name is its name.
	Name string

	// uid is its uid.
	UID types.UID

	// creationTimestamp is when it was created.
	CreationTimestamp metav1.Time

	// podHash is the hash of its template.
	PodHash string

	// role is what its revision is to the Rollout: stable or canary; active, preview or delay with blueGreen; or nothing any more.
	Role TreeRole

	// status is its state in one word: Healthy, Progressing, ScaledDown or ReplicaFailure.
	Status string

	// replicas is the number of pods that it is told to have. Unit: pods.
	Replicas int32

	// readyReplicas is how many of its pods are ready. Unit: pods.
	ReadyReplicas int32

	// availableReplicas is how many of its pods are available. Unit: pods.
	AvailableReplicas int32

	// images are those of its containers, in their order.
	Images []string

	// pods are its pods, the oldest first.
	Pods []TreePod
}

// TreePod is a pod.
type TreePod struct {
	// name is its name.
	Name string

	// uid is its uid.
	UID types.UID

	// creationTimestamp is when it was created.
	CreationTimestamp metav1.Time

	// status is its state in one word, as kubectl get pods shows it: Running, ContainerCreating,
	// CrashLoopBackOff, Terminating.
	Status string

	// readyContainers is how many of its containers are ready.
	ReadyContainers int32

	// containers is how many containers it has.
	Containers int32

	// restarts is how often its containers were started anew.
	Restarts int32
}
