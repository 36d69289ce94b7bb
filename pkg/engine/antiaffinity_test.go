// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

var (
	required  = &rollouts.AntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &rollouts.RequiredAntiAffinity{}}
	preferred = &rollouts.AntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: &rollouts.PreferredAntiAffinity{Weight: 7}}
)

// apart is a term against pods with a label, as users write them.
func apart(key, value string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}, TopologyKey: "kubernetes.io/hostname"}
}

// own are affinities that users may write themselves, of which nothing may be lost, nor taken for ours.
func own() map[string]*corev1.Affinity {
	return map[string]*corev1.Affinity{
		"none":              nil,
		"empty":             {},
		"empty within":      {PodAntiAffinity: &corev1.PodAntiAffinity{}},
		"for nodes":         {NodeAffinity: &corev1.NodeAffinity{}},
		"required":          {PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{apart("app", "demo")}}},
		"preferred":         {PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 7, PodAffinityTerm: apart("app", "demo")}}}},
		"by the hash label": {PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{apart(rollouts.PodTemplateHashLabel, "mine")}}},
	}
}

// New pods of an update keep off the nodes of the stable ones. That is in the ReplicaSet only: neither does it start a
// revision, nor come back by undo.
func TestAntiAffinity(t *testing.T) {
	for kind, anti := range map[string]*rollouts.AntiAffinity{"required": required, "preferred": preferred} {
		for name, affinity := range own() {
			t.Run(kind+" besides "+name, func(t *testing.T) {
				r := rollout(2)
				r.Spec.Template.Spec.Affinity = affinity
				r.Spec.Strategy.Canary.AntiAffinity = anti
				w := deployed(t, r)
				first := w.ReplicaSets()[0]
				if got := first.Spec.Template.Spec.Affinity; !apiequality.Semantic.DeepEqual(got, affinity) {
					t.Errorf("the first revision has %+v", got)
				}
				stable := w.Rollout.Status.StableRS
				w.update("v2")
				w.is(rollouts.RolloutPhaseHealthy, "")
				second := w.ReplicaSets()[1]
				checkKeptOff(t, second, kind, stable, affinity)
				if got := engine.TemplateOf(second); !engine.TemplatesEqual(got, &w.Rollout.Spec.Template) {
					t.Errorf("the template of the new ReplicaSet is %+v", got.Spec.Affinity)
				}
				w.update("v1") // A ReplicaSet that is there is taken as it is.
				w.must(w.Undo(2))
				w.settle()
				w.is(rollouts.RolloutPhaseHealthy, "")
				if len(w.ReplicaSets()) != 2 {
					t.Errorf("there are %d ReplicaSets", len(w.ReplicaSets()))
				}
				wanted := rollout(2).Spec.Template
				wanted.Spec.Containers[0].Image, wanted.Spec.Affinity = "v2", affinity
				if !engine.TemplatesEqual(&wanted, &w.Rollout.Spec.Template) {
					t.Errorf("undo put back %+v", w.Rollout.Spec.Template.Spec.Affinity)
				}
			})
		}
	}
}

// checkKeptOff looks for exactly one term more than the user's own, and that it is the right one.
func checkKeptOff(t *testing.T, rs *appsv1.ReplicaSet, kind, stable string, own *corev1.Affinity) {
	t.Helper()
	if own == nil {
		own = &corev1.Affinity{}
	}
	want := own.DeepCopy()
	if want.PodAntiAffinity == nil {
		want.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	anti, term := want.PodAntiAffinity, apart("sluice.dev/pod-template-hash", stable)
	if kind == "required" {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution, term)
	} else {
		anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution, corev1.WeightedPodAffinityTerm{Weight: 7, PodAffinityTerm: term})
	}
	if got := rs.Spec.Template.Spec.Affinity; !apiequality.Semantic.DeepEqual(got, want) {
		t.Errorf("the new ReplicaSet has\n%+v, want\n%+v", got, want)
	}
}

// To switch it on or off starts no revision, and changes no pod that runs.
func TestAntiAffinityIsForNewReplicaSets(t *testing.T) {
	w := deployed(t, rollout(2))
	w.update("v2")
	before := w.Written.ReplicaSets
	for _, anti := range []*rollouts.AntiAffinity{required, preferred, nil} {
		w.edit("antiAffinity", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.AntiAffinity = anti })
		w.settle()
	}
	if w.Written.ReplicaSets != before || w.Rollout.Status.Revision != 2 {
		t.Errorf("%d writes to ReplicaSets, revision %d", w.Written.ReplicaSets-before, w.Rollout.Status.Revision)
	}
}
