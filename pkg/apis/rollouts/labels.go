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
)
