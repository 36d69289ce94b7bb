// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Rollout runs a set of identical pods and moves them from one version of their template to the
// next in steps that people can stop, go on with, or take back.
//
// It is to be used where a Deployment would be: it creates one ReplicaSet for each revision of the
// template and shifts pods between the stable revision and the new one, the canary. Its verbs are
// subresources: promote, abort, retry, pause, resume, restart and undo act on it, plan and explain tell of it.
type Rollout struct {
	metav1.TypeMeta
	// metadata is the standard object metadata.
	metav1.ObjectMeta

	// spec is what is wanted.
	Spec RolloutSpec

	// status is what was last observed. Only the server and its controller write it; what a client
	// sends here on the main resource is ignored.
	Status RolloutStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RolloutList is a list of Rollouts.
type RolloutList struct {
	metav1.TypeMeta
	// metadata is the standard list metadata.
	metav1.ListMeta

	// items is the list of Rollouts.
	Items []Rollout
}

// RolloutSpec is what is wanted of a Rollout.
type RolloutSpec struct {
	// replicas is the wanted number of pods, over all revisions. Unit: pods. Default 1, minimum 0.
	// A negative value is refused as Invalid.
	Replicas *int32

	// selector finds the pods that belong to this Rollout. It must match the labels of the template,
	// must not be empty (that would select every pod of the namespace), and cannot be changed once it
	// is set; each of these is refused as Invalid. With workloadRef it may be left out: then it is that
	// of the Deployment. Otherwise it is required.
	Selector *metav1.LabelSelector

	// template describes the pods. A write that changes it starts a new revision, unless it equals
	// the template of a ReplicaSet that still exists: then the Rollout goes back to that revision.
	// It is validated and defaulted by the cluster's own API server before it is stored; what that
	// refuses is refused here, with the same messages. The only restartPolicy allowed is Always. It is
	// required, unless workloadRef is set: then it must be left out.
	Template corev1.PodTemplateSpec

	// minReadySeconds is how long a new pod must be ready without any of its containers crashing
	// before it counts as available. Unit: seconds. Default 0, minimum 0.
	MinReadySeconds int32

	// strategy says how pods of the old revision are replaced by pods of the new one. Exactly one
	// strategy must be set.
	Strategy RolloutStrategy

	// revisionHistoryLimit is how many old ReplicaSets without pods are kept, so that their revision
	// can be gone back to. The oldest are deleted first; the stable revision and the current one are
	// always kept and do not count. Default 10, minimum 0.
	RevisionHistoryLimit *int32

	// paused freezes the Rollout where it is: no step is taken, no new revision is started, and only
	// a change of replicas, or an abort, moves pods. Default false.
	Paused bool

	// progressDeadlineSeconds is how long an update may go without progress before the Rollout is
	// reported Degraded with reason ProgressDeadlineExceeded. The clock stands still in a pause.
	// Unit: seconds. Default 600; must be greater than minReadySeconds.
	ProgressDeadlineSeconds *int32

	// progressDeadlineAbort aborts an update in flight when its progress deadline is exceeded. It
	// never aborts a first deployment, which has nothing to go back to. Default false.
	ProgressDeadlineAbort bool

	// restartAt asks for every pod that was created before this time to be replaced, a few at a time, by
	// eviction, so that PodDisruptionBudgets are honoured. A time in the future is waited for. The verb
	// restart sets it. status.restartedAt equals it when all are replaced.
	RestartAt *metav1.Time

	// rollbackWindow lets a return to a recent revision skip steps and pauses. To skip an approval by it needs the
	// verb override on rollouts.
	RollbackWindow *RollbackWindow

	// workloadRef names a Deployment of the namespace whose template this Rollout runs, in place of template:
	// a change of that starts a revision. The template is read when it is needed, and never stored here. While the
	// Deployment does not exist nothing is moved, and explain says so.
	WorkloadRef *WorkloadRef
}

// RollbackWindow says which revisions are recent.
type RollbackWindow struct {
	// revisions is how many revisions back an older one may be to be gone back to at once: fewer than this many other
	// ReplicaSets were made between its own and that of the stable revision. 0 switches it off. Minimum 0.
	Revisions int32
}
