// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:method=GetScale,verb=get,subresource=scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=UpdateScale,verb=update,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=Promote,verb=create,subresource=promote,input=Promotion,result=Promotion
// +genclient:method=Abort,verb=create,subresource=abort,input=Abort,result=Abort
// +genclient:method=Retry,verb=create,subresource=retry,input=Retry,result=Retry
// +genclient:method=Pause,verb=create,subresource=pause,input=Pause,result=Pause
// +genclient:method=Resume,verb=create,subresource=resume,input=Resume,result=Resume
// +genclient:method=Restart,verb=create,subresource=restart,input=Restart,result=Restart
// +genclient:method=Undo,verb=create,subresource=undo,input=Undo,result=Undo
// +genclient:method=Plan,verb=create,subresource=plan,input=RolloutPlan,result=RolloutPlan
// +genclient:method=GetPlan,verb=get,subresource=plan,result=RolloutPlan
// +genclient:method=Explain,verb=get,subresource=explain,result=RolloutExplanation
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Rollout runs a set of identical pods and moves them from one version of their template to the
// next in steps that people can stop, go on with, or take back.
//
// It is to be used where a Deployment would be: it creates one ReplicaSet for each revision of the
// template and shifts pods between the stable revision and the new one, the canary. Its verbs are
// subresources: promote, abort, retry, pause, resume, restart and undo act on it, plan and explain tell of it.
type Rollout struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what is wanted.
	// +optional
	Spec RolloutSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`

	// status is what was last observed. Only the server and its controller write it; what a client
	// sends here on the main resource is ignored.
	// +optional
	Status RolloutStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutList is a list of Rollouts.
type RolloutList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items is the list of Rollouts.
	Items []Rollout `json:"items" protobuf:"bytes,2,rep,name=items"`
}

// RolloutSpec is what is wanted of a Rollout.
type RolloutSpec struct {
	// replicas is the wanted number of pods, over all revisions. Unit: pods. Default 1, minimum 0.
	// A negative value is refused as Invalid.
	// +optional
	Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,1,opt,name=replicas"`

	// selector finds the pods that belong to this Rollout. It must match the labels of the template,
	// must not be empty (that would select every pod of the namespace), and cannot be changed once it
	// is set; each of these is refused as Invalid. With workloadRef it may be left out: then it is that
	// of the Deployment. Otherwise it is required.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty" protobuf:"bytes,2,opt,name=selector"`

	// template describes the pods. A write that changes it starts a new revision, unless it equals
	// the template of a ReplicaSet that still exists: then the Rollout goes back to that revision.
	// It is validated and defaulted by the cluster's own API server before it is stored; what that
	// refuses is refused here, with the same messages. The only restartPolicy allowed is Always. It is
	// required, unless workloadRef is set: then it must be left out.
	// +optional
	Template corev1.PodTemplateSpec `json:"template,omitempty,omitzero" protobuf:"bytes,3,opt,name=template"`

	// minReadySeconds is how long a new pod must be ready without any of its containers crashing
	// before it counts as available. Unit: seconds. Default 0, minimum 0.
	// +optional
	MinReadySeconds int32 `json:"minReadySeconds,omitempty" protobuf:"varint,4,opt,name=minReadySeconds"`

	// strategy says how pods of the old revision are replaced by pods of the new one. Exactly one
	// strategy must be set.
	Strategy RolloutStrategy `json:"strategy" protobuf:"bytes,5,opt,name=strategy"`

	// revisionHistoryLimit is how many old ReplicaSets without pods are kept, so that their revision
	// can be gone back to. The oldest are deleted first; the stable revision and the current one are
	// always kept and do not count. Default 10, minimum 0.
	// +optional
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty" protobuf:"varint,6,opt,name=revisionHistoryLimit"`

	// paused freezes the Rollout where it is: no step is taken, no new revision is started, and only
	// a change of replicas, or an abort, moves pods. Default false.
	// +optional
	Paused bool `json:"paused,omitempty" protobuf:"varint,7,opt,name=paused"`

	// progressDeadlineSeconds is how long an update may go without progress before the Rollout is
	// reported Degraded with reason ProgressDeadlineExceeded. The clock stands still in a pause.
	// Unit: seconds. Default 600; must be greater than minReadySeconds.
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty" protobuf:"varint,8,opt,name=progressDeadlineSeconds"`

	// progressDeadlineAbort aborts an update in flight when its progress deadline is exceeded. It
	// never aborts a first deployment, which has nothing to go back to. Default false.
	// +optional
	ProgressDeadlineAbort bool `json:"progressDeadlineAbort,omitempty" protobuf:"varint,9,opt,name=progressDeadlineAbort"`

	// restartAt asks for every pod that was created before this time to be replaced, a few at a time, by
	// eviction, so that PodDisruptionBudgets are honoured. A time in the future is waited for. The verb
	// restart sets it. status.restartedAt equals it when all are replaced.
	// +optional
	RestartAt *metav1.Time `json:"restartAt,omitempty" protobuf:"bytes,10,opt,name=restartAt"`

	// rollbackWindow lets a return to a recent revision skip steps and pauses. To skip an approval by it needs the
	// verb override on rollouts.
	// +optional
	RollbackWindow *RollbackWindow `json:"rollbackWindow,omitempty" protobuf:"bytes,11,opt,name=rollbackWindow"`

	// workloadRef names a Deployment of the namespace whose template this Rollout runs, in place of template:
	// a change of that starts a revision. The template is read when it is needed, and never stored here. While the
	// Deployment does not exist nothing is moved, and explain says so.
	// +optional
	WorkloadRef *WorkloadRef `json:"workloadRef,omitempty" protobuf:"bytes,12,opt,name=workloadRef"`
}

// RollbackWindow says which revisions are recent.
type RollbackWindow struct {
	// revisions is how many revisions back an older one may be to be gone back to at once: fewer than this many other
	// ReplicaSets were made between its own and that of the stable revision. 0 switches it off. Minimum 0.
	Revisions int32 `json:"revisions" protobuf:"varint,1,opt,name=revisions"`
}
