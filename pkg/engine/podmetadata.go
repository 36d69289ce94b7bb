// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.2 (C10, C11) and 1.5 (G12).

// LooksAtPods is true if Decide reads the metadata of pods: something is to be put on them, or was. Whoever makes
// a Snapshot may leave Pods out otherwise, unless a restart is in progress.
func LooksAtPods(r *rollouts.Rollout, rss []*appsv1.ReplicaSet) bool {
	if canary := r.Spec.Strategy.Canary; canary != nil && (canary.CanaryMetadata != nil || canary.StableMetadata != nil) {
		return true
	}
	if blueGreen := r.Spec.Strategy.BlueGreen; blueGreen != nil && (blueGreen.ActiveMetadata != nil || blueGreen.PreviewMetadata != nil) {
		return true
	}
	return slices.ContainsFunc(rss, func(rs *appsv1.ReplicaSet) bool { return rs.Annotations[rollouts.PodMetadataAnnotation] != "" })
}
