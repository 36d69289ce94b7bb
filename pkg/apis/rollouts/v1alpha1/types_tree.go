// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// +genclient
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutTree is a Rollout with its revisions, their ReplicaSets and their pods, for people to look at. It
// has the name of the Rollout, is computed from the caches of the server, and is never stored: it can be
// got, listed and watched only. Its resourceVersion counts changes of trees, and is none of etcd's. Whoever
// may read it sees the names and states of the pods without any right on pods.
type RolloutTree struct {
	metav1.TypeMeta `json:",inline"`
	// metadata has the name, namespace, uid, labels and creation time of the Rollout.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// rollout is the Rollout itself.
	Rollout TreeRollout `json:"rollout" protobuf:"bytes,2,opt,name=rollout"`

	// revisions are what the Rollout has ReplicaSets of, the newest first.
	// +optional
	// +listType=atomic
	Revisions []TreeRevision `json:"revisions,omitempty" protobuf:"bytes,3,rep,name=revisions"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutTreeList is a list of RolloutTrees.
type RolloutTreeList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items is the list of RolloutTrees.
	Items []RolloutTree `json:"items" protobuf:"bytes,2,rep,name=items"`
}

// TreeRollout is the root of a tree.
type TreeRollout struct {
	// strategy is the strategy in one word: Canary.
	// +optional
	Strategy string `json:"strategy,omitempty" protobuf:"bytes,1,opt,name=strategy"`

	// phase is the state in one word: Progressing, Paused, Healthy or Degraded. A change of the spec that is
	// not observed yet counts as progress.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty" protobuf:"bytes,2,opt,name=phase,casttype=RolloutPhase"`

	// message says why the phase is what it is.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,3,opt,name=message"`

	// stepIndex is the index, from 0, of the step that the update is at; unset without steps.
	// +optional
	StepIndex *int32 `json:"stepIndex,omitempty" protobuf:"varint,4,opt,name=stepIndex"`

	// steps is how many steps the strategy has.
	Steps int32 `json:"steps" protobuf:"varint,5,opt,name=steps"`

	// setWeight is the share of pods of the current revision that is wanted now. Unit: percent.
	SetWeight int32 `json:"setWeight" protobuf:"varint,6,opt,name=setWeight"`

	// actualWeight is the share of available pods that are of the current revision. Unit: percent.
	ActualWeight int32 `json:"actualWeight" protobuf:"varint,7,opt,name=actualWeight"`

	// replicas is spec.replicas of the Rollout. Unit: pods.
	Replicas int32 `json:"replicas" protobuf:"varint,8,opt,name=replicas"`

	// currentReplicas is the number of pods of all revisions. Unit: pods.
	CurrentReplicas int32 `json:"currentReplicas" protobuf:"varint,9,opt,name=currentReplicas"`

	// updatedReplicas is the number of pods of the current revision. Unit: pods.
	UpdatedReplicas int32 `json:"updatedReplicas" protobuf:"varint,10,opt,name=updatedReplicas"`

	// readyReplicas is the number of ready pods of all revisions. Unit: pods.
	ReadyReplicas int32 `json:"readyReplicas" protobuf:"varint,11,opt,name=readyReplicas"`

	// availableReplicas is the number of available pods of all revisions. Unit: pods.
	AvailableReplicas int32 `json:"availableReplicas" protobuf:"varint,12,opt,name=availableReplicas"`
}

// TreeRole is what a revision is to its Rollout.
// +enum
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
	Revision int64 `json:"revision" protobuf:"varint,1,opt,name=revision"`

	// replicaSets are those that run it: one, unless something is wrong.
	// +optional
	// +listType=atomic
	ReplicaSets []TreeReplicaSet `json:"replicaSets,omitempty" protobuf:"bytes,2,rep,name=replicaSets"`
}

// TreeReplicaSet is a ReplicaSet of the Rollout.
type TreeReplicaSet struct {
	// name is its name.
	Name string `json:"name" protobuf:"bytes,1,opt,name=name"`

	// uid is its uid.
	// +optional
	UID types.UID `json:"uid,omitempty" protobuf:"bytes,2,opt,name=uid,casttype=k8s.io/apimachinery/pkg/types.UID"`

	// creationTimestamp is when it was created.
	// +optional
	CreationTimestamp metav1.Time `json:"creationTimestamp,omitempty" protobuf:"bytes,3,opt,name=creationTimestamp"`

	// podHash is the hash of its template.
	// +optional
	PodHash string `json:"podHash,omitempty" protobuf:"bytes,4,opt,name=podHash"`

	// role is what its revision is to the Rollout: stable or canary; active, preview or delay with blueGreen; or nothing any more.
	// +optional
	Role TreeRole `json:"role,omitempty" protobuf:"bytes,5,opt,name=role,casttype=TreeRole"`

	// status is its state in one word: Healthy, Progressing, ScaledDown or ReplicaFailure.
	Status string `json:"status" protobuf:"bytes,6,opt,name=status"`

	// replicas is the number of pods that it is told to have. Unit: pods.
	Replicas int32 `json:"replicas" protobuf:"varint,7,opt,name=replicas"`

	// readyReplicas is how many of its pods are ready. Unit: pods.
	ReadyReplicas int32 `json:"readyReplicas" protobuf:"varint,8,opt,name=readyReplicas"`

	// availableReplicas is how many of its pods are available. Unit: pods.
	AvailableReplicas int32 `json:"availableReplicas" protobuf:"varint,9,opt,name=availableReplicas"`

	// images are those of its containers, in their order.
	// +optional
	// +listType=atomic
	Images []string `json:"images,omitempty" protobuf:"bytes,10,rep,name=images"`

	// pods are its pods, the oldest first.
	// +optional
	// +listType=atomic
	Pods []TreePod `json:"pods,omitempty" protobuf:"bytes,11,rep,name=pods"`
}

// TreePod is a pod.
type TreePod struct {
	// name is its name.
	Name string `json:"name" protobuf:"bytes,1,opt,name=name"`

	// uid is its uid.
	// +optional
	UID types.UID `json:"uid,omitempty" protobuf:"bytes,2,opt,name=uid,casttype=k8s.io/apimachinery/pkg/types.UID"`

	// creationTimestamp is when it was created.
	// +optional
	CreationTimestamp metav1.Time `json:"creationTimestamp,omitempty" protobuf:"bytes,3,opt,name=creationTimestamp"`

	// status is its state in one word, as kubectl get pods shows it: Running, ContainerCreating,
	// CrashLoopBackOff, Terminating.
	Status string `json:"status" protobuf:"bytes,4,opt,name=status"`

	// readyContainers is how many of its containers are ready.
	ReadyContainers int32 `json:"readyContainers" protobuf:"varint,5,opt,name=readyContainers"`

	// containers is how many containers it has.
	Containers int32 `json:"containers" protobuf:"varint,6,opt,name=containers"`

	// restarts is how often its containers were started anew.
	Restarts int32 `json:"restarts" protobuf:"varint,7,opt,name=restarts"`
}
