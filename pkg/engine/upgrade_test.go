// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// A new version may name revisions by another hash: what an older one has named keeps its name, and nothing moves.
func TestAnotherHashStartsNoRevision(t *testing.T) {
	sets := []*appsv1.ReplicaSet{remaining("named-by-another-version", 4, 3, 3)}
	r := &rollouts.Rollout{}
	r.Name, r.UID, r.Generation = "demo", "lost", 1
	r.Spec.Replicas, r.Spec.Template = ptr.To[int32](3), *engine.TemplateOf(sets[0])
	r.Spec.Selector = sets[0].Spec.Selector.DeepCopy()
	r.Spec.Strategy.Canary = &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{weight(20), pause("")}}
	r.Status.Revision, r.Status.CurrentPodHash, r.Status.StableRS = 4, "named-by-another-version", "named-by-another-version"

	if got := engine.Resolve(r, &r.Spec.Template, sets); got.Hash != r.Status.CurrentPodHash || got.Revision != 4 {
		t.Errorf("the same manifest again is %+v, want revision 4 as it is named", got)
	}
	staysPut(t, r, sets)

	// Also if the status has another name for it.
	r.Status.CurrentPodHash, r.Status.StableRS = "named-by-this-version", "named-by-this-version"
	staysPut(t, r, sets)
}
