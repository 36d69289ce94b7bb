// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

// The labels and annotations that Sluice puts on what it creates.
const (
	// PodTemplateHashLabel is on every ReplicaSet of a Rollout and on its pods: the hash that names
	// the revision. It keeps the selectors of two revisions apart.
	PodTemplateHashLabel = "sluice.dev/pod-template-hash"
	// RevisionAnnotation is on every ReplicaSet of a Rollout: the newest revision it has run.
	RevisionAnnotation = "sluice.dev/revision"
	// DesiredReplicasAnnotation is on every ReplicaSet of a Rollout: spec.replicas of the Rollout when
	// the ReplicaSet was last scaled, by which a change of scale is told from a step.
	DesiredReplicasAnnotation = "sluice.dev/desired-replicas"
	// AuthorAnnotation is on a ReplicaSet whose template somebody is known to have written: that user. Of
	// several the newest is named.
	AuthorAnnotation = "sluice.dev/author"
	// SpecAnnotation is on every ReplicaSet that Sluice creates: spec of the Rollout at that time, as JSON of the served
	// version, without template, replicas, paused and restartAt. It is what a Rollout that was lost is rebuilt from, and
	// nothing else reads it.
	SpecAnnotation = "sluice.dev/rollout-spec"
	// RebuiltAnnotation is on a Rollout that 'sluice-apiserver snapshot rebuild' made of its ReplicaSets: when, in
	// RFC 3339, and what could not be known.
	RebuiltAnnotation = "sluice.dev/rebuilt"
	// OutcomeAnnotation is on a ReplicaSet whose newest revision has come to an end: OutcomePromoted or
	// OutcomeAborted. Undo goes by it.
	OutcomeAnnotation = "sluice.dev/outcome"
	// OutcomeTimeAnnotation is when that was, in RFC 3339.
	OutcomeTimeAnnotation = "sluice.dev/outcome-time"
	// OutcomeUserAnnotation is who called the verb that led to it; absent if none did.
	OutcomeUserAnnotation = "sluice.dev/outcome-user"
	// OutcomeReasonAnnotation is why, in the words of that user, or in ours.
	OutcomeReasonAnnotation = "sluice.dev/outcome-reason"
	// ScaleDownDeadlineAnnotation is on a ReplicaSet that keeps its pods for a while though they are not needed any
	// more: until when, in RFC 3339 with fractions.
	ScaleDownDeadlineAnnotation = "sluice.dev/scale-down-deadline"
	// PodMetadataAnnotation is on a ReplicaSet that has canaryMetadata, stableMetadata, activeMetadata or
	// previewMetadata in its template: which, as JSON. It is what is taken out again, and what a template is
	// compared without.
	PodMetadataAnnotation = "sluice.dev/pod-metadata"
	// AntiAffinityAnnotation is on a ReplicaSet whose template has a term of antiAffinity besides the user's own: the
	// hash that it is against. A template is compared without that term.
	AntiAffinityAnnotation = "sluice.dev/anti-affinity"
	// ManagedByRolloutAnnotation is on every Service whose selector Sluice keeps: the name of the Rollout. No other
	// Rollout touches it.
	ManagedByRolloutAnnotation = "sluice.dev/managed-by-rollout"
	// WorkloadTemplateAnnotation is on a ReplicaSet whose template was taken from a Deployment: a digest of it. So it is
	// known which one it was, though the cluster has changed it on the way.
	WorkloadTemplateAnnotation = "sluice.dev/workload-template"
	// WorkloadReplicasAnnotation is on a Deployment that is scaled down for a Rollout: the replicas that it had
	// before. It is never scaled above them again.
	WorkloadReplicasAnnotation = "sluice.dev/replicas-before"
	// ArgoPodTemplateHashLabel is what Argo Rollouts has in place of PodTemplateHashLabel. It stays on the ReplicaSets,
	// and the pods, that were taken over from it, since the selector of a ReplicaSet never changes.
	ArgoPodTemplateHashLabel = "rollouts-pod-template-hash"
	// MigrationAnnotation is on the running ReplicaSet of a Rollout that is being taken over from Argo Rollouts, until
	// that is done: the Rollout to create, as JSON. It is what 'kubectl sluice migrate --live' goes on from.
	MigrationAnnotation = "sluice.dev/migration"
)

// The values of OutcomeAnnotation.
const (
	// OutcomePromoted: the revision was fully available, and became the stable one.
	OutcomePromoted = "promoted"
	// OutcomeAborted: the update to the revision was aborted.
	OutcomeAborted = "aborted"
)
