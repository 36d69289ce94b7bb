// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Source: reference section 1.8 (S16), and docs/coming-from-argo.md.

// withoutArgosLabel takes Argo's hash label out of the template of a ReplicaSet that was taken over from Argo Rollouts.
// Such a ReplicaSet has that label in its selector, which can never change, in place of ours; its template has to keep
// it for as long as it lives, and the user's own never had it.
func withoutArgosLabel(rs *appsv1.ReplicaSet, template *corev1.PodTemplateSpec) {
	if takenOver(rs) {
		delete(template.Labels, rollouts.ArgoPodTemplateHashLabel)
	}
}

// takenOver is true if a ReplicaSet was made by Argo Rollouts: it tells its pods from others by Argo's label and not
// by ours, which every selector that we make has.
func takenOver(rs *appsv1.ReplicaSet) bool {
	selector := rs.Spec.Selector
	if selector == nil {
		return false
	}
	_, ours := selector.MatchLabels[rollouts.PodTemplateHashLabel]
	_, argos := selector.MatchLabels[rollouts.ArgoPodTemplateHashLabel]
	return argos && !ours
}
