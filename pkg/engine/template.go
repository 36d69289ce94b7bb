// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TemplateOf is the template that a ReplicaSet was made of: without what only its own selector needs, the hash label
// and, on one that was taken over from Argo Rollouts (docs/coming-from-argo.md), Argo's; and without what the strategy
// has put into it since or besides. It is what a template is compared with, and what an undo puts back.
func TemplateOf(rs *appsv1.ReplicaSet) *corev1.PodTemplateSpec {
	template := rs.Spec.Template.DeepCopy()
	putOn(rs).takeOut(&template.ObjectMeta)
	delete(template.Labels, rollouts.PodTemplateHashLabel)
	withoutArgosLabel(rs, template)
	withoutAntiAffinity(&template.Spec, rs.Annotations[rollouts.AntiAffinityAnnotation])
	return template
}
