// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.2 (C8, C9) and 1.5 (G11). As there, the term stays in the ReplicaSet when its revision
// becomes stable, and a rollback takes the ReplicaSet as it is: to change it would replace pods.

// antiAffinityOf is what the strategy asks for; nil if that is nothing.
func antiAffinityOf(r *rollouts.Rollout) *rollouts.AntiAffinity {
	switch strategy := r.Spec.Strategy; {
	case strategy.Canary != nil:
		return strategy.Canary.AntiAffinity
	case strategy.BlueGreen != nil:
		return strategy.BlueGreen.AntiAffinity
	default:
		return nil
	}
}

// withAntiAffinity keeps the pods of a ReplicaSet that is about to be made for an update off the nodes of the stable
// revision, and records that on it.
func withAntiAffinity(r *rollouts.Rollout, rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	wanted := antiAffinityOf(r)
	if wanted == nil || !updateInFlight(r) {
		return rs
	}
	spec := &rs.Spec.Template.Spec
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.PodAntiAffinity == nil {
		spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	anti, term := spec.Affinity.PodAntiAffinity, awayFrom(r.Status.StableRS)
	if preferred := wanted.PreferredDuringSchedulingIgnoredDuringExecution; preferred != nil {
		anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: preferred.Weight, PodAffinityTerm: term})
	} else {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution, term)
	}
	rs.Annotations[rollouts.AntiAffinityAnnotation] = r.Status.StableRS
	return rs
}

// awayFrom is a node without pods of the revision with a hash.
func awayFrom(hash string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{rollouts.PodTemplateHashLabel: hash}},
		TopologyKey:   corev1.LabelHostname,
	}
}

// withoutAntiAffinity takes the term against the revision with a hash out of a copy of a template: the last one, as it
// was put there, and none of the user's own.
func withoutAntiAffinity(spec *corev1.PodSpec, hash string) {
	if hash == "" || spec.Affinity == nil || spec.Affinity.PodAntiAffinity == nil {
		return
	}
	anti := spec.Affinity.PodAntiAffinity
	is := func(term corev1.PodAffinityTerm) bool { return apiequality.Semantic.DeepEqual(term, awayFrom(hash)) }
	required, preferred := anti.RequiredDuringSchedulingIgnoredDuringExecution, anti.PreferredDuringSchedulingIgnoredDuringExecution
	if last := len(required) - 1; last >= 0 && is(required[last]) {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = slices.Delete(required, last, last+1)
	} else if last := len(preferred) - 1; last >= 0 && is(preferred[last].PodAffinityTerm) {
		anti.PreferredDuringSchedulingIgnoredDuringExecution = slices.Delete(preferred, last, last+1)
	}
	spec.Affinity = pruned(spec.Affinity)
}

// pruned is an affinity without what is empty in it, which means nothing; nil if nothing is left.
func pruned(a *corev1.Affinity) *corev1.Affinity {
	if a == nil {
		return nil
	}
	out := *a
	if apiequality.Semantic.DeepEqual(out.PodAntiAffinity, &corev1.PodAntiAffinity{}) {
		out.PodAntiAffinity = nil
	}
	if apiequality.Semantic.DeepEqual(out, corev1.Affinity{}) {
		return nil
	}
	return &out
}
