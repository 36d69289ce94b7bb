// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RolloutStrategy says how pods are replaced. Exactly one of its fields must be set.
type RolloutStrategy struct {
	// canary replaces pods in steps, the share of new pods following the weight of the step.
	// +optional
	Canary *CanaryStrategy `json:"canary,omitempty" protobuf:"bytes,1,opt,name=canary"`

	// blueGreen runs the new revision beside the old one, and switches a Service from one to the other.
	// +optional
	BlueGreen *BlueGreenStrategy `json:"blueGreen,omitempty" protobuf:"bytes,2,opt,name=blueGreen"`
}

// CanaryStrategy replaces pods of the stable revision by pods of the new one, step by step.
type CanaryStrategy struct {
	// steps are taken one after the other after a change of the template. Without steps the update
	// is a rolling update, as a Deployment's. The first revision ever, and a return to the stable
	// one, take no steps.
	// +optional
	// +listType=atomic
	Steps []CanaryStep `json:"steps,omitempty" protobuf:"bytes,1,rep,name=steps"`

	// maxSurge is how many pods may exist above replicas during an update. A number of pods or a
	// percentage of replicas, rounded up. Default 25%. Cannot be 0 if maxUnavailable is 0.
	// +optional
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty" protobuf:"bytes,2,opt,name=maxSurge"`

	// maxUnavailable is how many of the wanted pods may be unavailable during an update. A number of
	// pods or a percentage of replicas, at most 100%, rounded down. Default 25%. Cannot be 0 if
	// maxSurge is 0; if both round to 0, one pod may be unavailable.
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty" protobuf:"bytes,3,opt,name=maxUnavailable"`

	// canaryService names a Service in the namespace whose selector is kept on the pods of the new revision during an
	// update, and on those of the stable one otherwise: sluice.dev/pod-template-hash is added to it. It never points
	// at a revision without an available pod while the other has one. Must differ from stableService. A Service that
	// is missing, or that another Rollout manages, is reported by explain and waited for.
	// +optional
	CanaryService string `json:"canaryService,omitempty" protobuf:"bytes,4,opt,name=canaryService"`

	// stableService names a Service whose selector is kept on the pods of the stable revision, as canaryService. It is
	// first pointed there when all of them are available.
	// +optional
	StableService string `json:"stableService,omitempty" protobuf:"bytes,5,opt,name=stableService"`

	// antiAffinity keeps new pods off the nodes of the pods of the stable revision, for as long as there is an update:
	// so that a cluster that grows its nodes for an update is not left with half empty ones. Pods of the first
	// revision have none.
	// +optional
	AntiAffinity *AntiAffinity `json:"antiAffinity,omitempty" protobuf:"bytes,6,opt,name=antiAffinity"`

	// canaryMetadata is put on the pods of the new revision, and its ReplicaSet's template, for as long as it is not
	// the stable one. Pods are changed in place, never recreated.
	// +optional
	CanaryMetadata *PodTemplateMetadata `json:"canaryMetadata,omitempty" protobuf:"bytes,7,opt,name=canaryMetadata"`

	// stableMetadata is put on the pods of the stable revision, in place. It takes the place of canaryMetadata when a
	// revision becomes stable.
	// +optional
	StableMetadata *PodTemplateMetadata `json:"stableMetadata,omitempty" protobuf:"bytes,8,opt,name=stableMetadata"`

	// replicaProgressThreshold says how many of the new pods that a step asks for must be available for it to be done.
	// Default: all of them. The last of an update, which makes a revision stable, always asks for all.
	// +optional
	ReplicaProgressThreshold *ReplicaProgressThreshold `json:"replicaProgressThreshold,omitempty" protobuf:"bytes,9,opt,name=replicaProgressThreshold"`
}

// CanaryStep is one step of an update. Exactly one of its fields must be set.
type CanaryStep struct {
	// setWeight sets the share of pods that run the new revision. Unit: percent. Range 0 to 100. The
	// step is done when the pods of both revisions stand at that share, with those of the new
	// revision available.
	// +optional
	SetWeight *int32 `json:"setWeight,omitempty" protobuf:"varint,1,opt,name=setWeight"`

	// pause waits, for a time or until somebody promotes.
	// +optional
	Pause *RolloutPause `json:"pause,omitempty" protobuf:"bytes,2,opt,name=pause"`
}

// RolloutPause is a wait between two steps.
type RolloutPause struct {
	// duration is how long to wait: a number of seconds, or a string with a unit as in "90s", "10m" or
	// "1h30m". 0 passes at once; negative values are refused. If unset, the pause has no end of its
	// own: it ends with a promote. A pause never ends early.
	// +optional
	Duration *intstr.IntOrString `json:"duration,omitempty" protobuf:"bytes,1,opt,name=duration"`

	// approval asks for people: the pause ends when enough of them have promoted. It excludes a
	// duration. To remove or weaken it needs the verb override on rollouts, as does to skip it.
	// +optional
	Approval *PauseApproval `json:"approval,omitempty" protobuf:"bytes,2,opt,name=approval"`
}

// PauseApproval says whose promotes end a pause. Each promote by a different user counts once. What was
// given is void when the template or the steps change, and after an abort, a retry or an undo.
type PauseApproval struct {
	// required is how many different users must promote. Default 1, range 1 to 20.
	// +optional
	Required *int32 `json:"required,omitempty" protobuf:"varint,1,opt,name=required"`

	// groups are those of which a user must be in at least one to count; promotes of others are refused
	// as Forbidden. Empty, the default: anybody who may promote.
	// +optional
	// +listType=set
	Groups []string `json:"groups,omitempty" protobuf:"bytes,2,rep,name=groups"`

	// notAuthor excludes everybody who has changed the template since the last stable revision, as named
	// by status.templateAuthors. Default true.
	// +optional
	NotAuthor *bool `json:"notAuthor,omitempty" protobuf:"varint,3,opt,name=notAuthor"`

	// expireAfter is how long an approval counts: a number of seconds, or a string with a unit as in
	// "90s", "10m" or "24h". It must be more than 0. If unset, an approval counts until it is void.
	// +optional
	ExpireAfter *intstr.IntOrString `json:"expireAfter,omitempty" protobuf:"bytes,4,opt,name=expireAfter"`
}

// BlueGreenStrategy brings up the pods of a new revision beside those of the active one, and then switches a Service
// from one to the other: all clients at once, in one write, which is the commit point of the update.
type BlueGreenStrategy struct {
	// activeService names the Service in the namespace that clients use. Its selector is switched to the new revision
	// at promotion, in one write: sluice.dev/pod-template-hash is added to it. It never points at a revision of which
	// not all pods are available. Required. A Service that is missing, or that another Rollout manages, is reported by
	// explain and waited for.
	ActiveService string `json:"activeService" protobuf:"bytes,1,opt,name=activeService"`

	// previewService names a Service whose selector is on the new revision as soon as its ReplicaSet exists, for
	// people and tests to look at it before promotion. Must differ from activeService.
	// +optional
	PreviewService string `json:"previewService,omitempty" protobuf:"bytes,2,opt,name=previewService"`

	// previewReplicaCount is how many pods the new revision has before promotion. It is brought to replicas when it is
	// promoted, and only then is activeService switched. Unit: pods. Default: replicas, minimum 1; more than replicas
	// counts as replicas.
	// +optional
	PreviewReplicaCount *int32 `json:"previewReplicaCount,omitempty" protobuf:"varint,3,opt,name=previewReplicaCount"`

	// autoPromotionEnabled promotes a new revision as soon as all its pods are available, or after
	// autoPromotionSeconds. If false, the update waits for a promote. Default true.
	// +optional
	AutoPromotionEnabled *bool `json:"autoPromotionEnabled,omitempty" protobuf:"varint,4,opt,name=autoPromotionEnabled"`

	// autoPromotionSeconds is how long after its pods are available a new revision is promoted by itself; a promote
	// ends the wait. Ignored if autoPromotionEnabled is false. Unit: seconds. Default 0, minimum 0.
	// +optional
	AutoPromotionSeconds *int32 `json:"autoPromotionSeconds,omitempty" protobuf:"varint,5,opt,name=autoPromotionSeconds"`

	// maxUnavailable is how many pods a restart may have missing at a time. A number of pods or a percentage of
	// replicas, at most 100%, rounded down. Default 25%. An update never takes pods from the active revision before
	// the switch.
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty" protobuf:"bytes,6,opt,name=maxUnavailable"`

	// scaleDownDelaySeconds is how long the pods of the previous revision are kept after the switch: until then going
	// back to it is a switch alone, and proxies that lag behind still find pods. Unit: seconds. Default 30, minimum 0.
	// +optional
	ScaleDownDelaySeconds *int32 `json:"scaleDownDelaySeconds,omitempty" protobuf:"varint,7,opt,name=scaleDownDelaySeconds"`

	// scaleDownDelayRevisionLimit is how many old revisions may keep pods because of scaleDownDelaySeconds; the oldest
	// lose theirs at once. Default: no limit. Minimum 0, at most revisionHistoryLimit.
	// +optional
	ScaleDownDelayRevisionLimit *int32 `json:"scaleDownDelayRevisionLimit,omitempty" protobuf:"varint,8,opt,name=scaleDownDelayRevisionLimit"`

	// abortScaleDownDelaySeconds is how long the pods of a revision are kept after its update was aborted. 0 keeps
	// them until the next change. Unit: seconds. Default 30, minimum 0.
	// +optional
	AbortScaleDownDelaySeconds *int32 `json:"abortScaleDownDelaySeconds,omitempty" protobuf:"varint,9,opt,name=abortScaleDownDelaySeconds"`

	// antiAffinity keeps new pods off the nodes of the pods of the stable revision, for as long as there is an update.
	// +optional
	AntiAffinity *AntiAffinity `json:"antiAffinity,omitempty" protobuf:"bytes,10,opt,name=antiAffinity"`

	// activeMetadata is put on the pods of the active revision, in place. It takes the place of previewMetadata when a
	// revision is promoted.
	// +optional
	ActiveMetadata *PodTemplateMetadata `json:"activeMetadata,omitempty" protobuf:"bytes,11,opt,name=activeMetadata"`

	// previewMetadata is put on the pods of the new revision, and its ReplicaSet's template, until it is promoted.
	// Pods are changed in place, never recreated.
	// +optional
	PreviewMetadata *PodTemplateMetadata `json:"previewMetadata,omitempty" protobuf:"bytes,12,opt,name=previewMetadata"`
}

// AntiAffinity keeps new pods off the nodes (topology kubernetes.io/hostname) of pods of the stable revision. Exactly
// one of its fields must be set.
type AntiAffinity struct {
	// preferredDuringSchedulingIgnoredDuringExecution avoids those nodes where there are others.
	// +optional
	PreferredDuringSchedulingIgnoredDuringExecution *PreferredAntiAffinity `json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty" protobuf:"bytes,1,opt,name=preferredDuringSchedulingIgnoredDuringExecution"`

	// requiredDuringSchedulingIgnoredDuringExecution never uses those nodes: without others new pods stay pending.
	// +optional
	RequiredDuringSchedulingIgnoredDuringExecution *RequiredAntiAffinity `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty" protobuf:"bytes,2,opt,name=requiredDuringSchedulingIgnoredDuringExecution"`
}

// PreferredAntiAffinity says how much other nodes are preferred.
type PreferredAntiAffinity struct {
	// weight is how much. Range 1 to 100.
	Weight int32 `json:"weight" protobuf:"varint,1,opt,name=weight"`
}

// RequiredAntiAffinity has no fields: it is written as {}.
type RequiredAntiAffinity struct {
}

// PodTemplateMetadata is what is put on pods while they play a role.
type PodTemplateMetadata struct {
	// labels are put on the pods. None may be one that spec.selector uses, nor sluice.dev/pod-template-hash.
	// +optional
	Labels map[string]string `json:"labels,omitempty" protobuf:"bytes,1,opt,name=labels"`

	// annotations are put on the pods.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty" protobuf:"bytes,2,opt,name=annotations"`
}

// ReplicaProgressThreshold says how many new pods are enough to go on.
type ReplicaProgressThreshold struct {
	// type is Percent or Pods.
	Type ProgressThresholdType `json:"type" protobuf:"bytes,1,opt,name=type,casttype=ProgressThresholdType"`

	// value is a share of the pods that the step asks for, rounded up, if type is Percent (range 1 to 100), or a
	// number of them if it is Pods (1 or more; more than the step asks for counts as that many).
	Value int32 `json:"value" protobuf:"varint,2,opt,name=value"`
}

// ProgressThresholdType is how a ReplicaProgressThreshold counts.
// +enum
type ProgressThresholdType string

const (
	// ProgressThresholdPercent: a share of the pods that the step asks for.
	ProgressThresholdPercent ProgressThresholdType = "Percent"
	// ProgressThresholdPods: a number of pods.
	ProgressThresholdPods ProgressThresholdType = "Pods"
)
