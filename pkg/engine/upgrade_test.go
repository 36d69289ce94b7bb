// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// fullyPromoted is a Rollout of three pods whose revision 4 is stable, and runs as this ReplicaSet.
func fullyPromoted(rs *appsv1.ReplicaSet) *rollouts.Rollout {
	hash := rs.Labels[rollouts.PodTemplateHashLabel]
	r := &rollouts.Rollout{}
	r.Name, r.UID, r.Generation = "demo", "lost", 1
	r.Spec.Replicas, r.Spec.Template = ptr.To[int32](3), *engine.TemplateOf(rs)
	r.Spec.Selector = rs.Spec.Selector.DeepCopy()
	r.Spec.Strategy.Canary = &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{weight(20), pause("")}}
	r.Status.Revision, r.Status.CurrentPodHash, r.Status.StableRS = 4, hash, hash
	return r
}

// A new version may name revisions by another hash: what an older one has named keeps its name, and nothing moves.
func TestAnotherHashStartsNoRevision(t *testing.T) {
	sets := []*appsv1.ReplicaSet{remaining("named-by-another-version", 4, 3, 3)}
	r := fullyPromoted(sets[0])

	if got := engine.Resolve(r, &r.Spec.Template, sets); got.Hash != r.Status.CurrentPodHash || got.Revision != 4 {
		t.Errorf("the same manifest again is %+v, want revision 4 as it is named", got)
	}
	staysPut(t, r, sets)

	// Also if the status has another name for it.
	r.Status.CurrentPodHash, r.Status.StableRS = "named-by-this-version", "named-by-this-version"
	staysPut(t, r, sets)
}

// A host that is upgraded may default fields that it did not have, also in what it has stored before; one that goes back
// has them no more. What a Rollout was stored with stays, and what runs is the same revision.
func TestOtherDefaultsOfTheHostStartNoRevision(t *testing.T) {
	policy := corev1.PreemptLowerPriority
	for _, row := range []struct {
		rule string
		// had and has change the template as the host read it when the Rollout was stored, and as it does now.
		had, has func(*corev1.PodSpec)
	}{
		{"fields that it defaults now", func(*corev1.PodSpec) {}, func(p *corev1.PodSpec) {
			p.PreemptionPolicy, p.Containers[0].TerminationMessagePolicy = &policy, corev1.TerminationMessageReadFile
		}},
		{"fields that it has no more", func(p *corev1.PodSpec) {
			p.PreemptionPolicy, p.Containers[0].TerminationMessagePolicy = &policy, corev1.TerminationMessageReadFile
		}, func(*corev1.PodSpec) {}},
		{"a default with another value", func(p *corev1.PodSpec) { p.EnableServiceLinks = ptr.To(true) }, func(p *corev1.PodSpec) { p.EnableServiceLinks = ptr.To(false) }},
	} {
		t.Run(row.rule, func(t *testing.T) {
			sets := []*appsv1.ReplicaSet{remaining("before", 3, 0, 0), remaining("stable", 4, 3, 3)}
			r := fullyPromoted(sets[1])
			row.had(&r.Spec.Template.Spec)
			for _, rs := range sets {
				row.has(&rs.Spec.Template.Spec)
			}

			staysPut(t, r, sets)
			// The manifest is applied again, and the host resolves it as it does now.
			if got := engine.Resolve(r, engine.TemplateOf(sets[1]), sets); got.Hash != "stable" || got.Revision != 4 {
				t.Errorf("the same manifest again is %+v, want revision 4 as it is named", got)
			}
		})
	}
}
