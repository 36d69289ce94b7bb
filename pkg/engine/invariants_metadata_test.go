// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestMetadataTellsPodsApartAndRecreatesNone: wherever a Rollout ends, each pod of the current and the stable revision
// carries what the strategy asks for of its role, and nothing of another; and to change that takes no pod, and starts
// no revision.
func TestMetadataTellsPodsApartAndRecreatesNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(true)
		m.settle()
		m.checkMetadata()
		if m.heldBack() || m.restarting() {
			return
		}
		had, revision := m.allSerials(), m.Rollout.Status.Revision
		stable, canary := anyMetadata(t), anyMetadata(t)
		m.Edit("metadata", func(spec *rollouts.RolloutSpec) {
			spec.Strategy.Canary.StableMetadata, spec.Strategy.Canary.CanaryMetadata = stable, canary
		})
		m.settle()
		m.checkMetadata()
		if has := m.allSerials(); !slices.Equal(had, has) || m.Rollout.Status.Revision != revision {
			m.fail("a change of metadata turned pods %v into %v, revision %d into %d", had, has, revision, m.Rollout.Status.Revision)
		}
	})
}

// allSerials tell all pods apart that the Rollout owns.
func (m *machine) allSerials() []int {
	var all []int
	for _, rs := range m.owned() {
		for _, p := range m.PodsOf(rs) {
			all = append(all, p.Serial)
		}
	}
	slices.Sort(all)
	return all
}

func (m *machine) checkMetadata() {
	st, canary := m.Rollout.Status, m.Rollout.Spec.Strategy.Canary
	if m.isHeld() {
		return
	}
	for _, hash := range []string{st.CurrentPodHash, st.StableRS} {
		rs := m.Find(hash)
		if rs == nil || !isOwned(m.Cluster, rs) {
			continue
		}
		want := canary.StableMetadata
		if st.StableRS != "" && hash != st.StableRS {
			want = canary.CanaryMetadata
		}
		labels := map[string]string{}
		if want != nil {
			maps.Copy(labels, want.Labels)
		}
		for _, p := range m.PodsOf(rs) {
			for _, key := range metadataKeys {
				got, has := p.Labels[key]
				if value, wanted := labels[key]; has != wanted || got != value {
					m.fail("pod %d of %s has labels %v, want %v", p.Serial, rs.Name, p.Labels, labels)
				}
			}
		}
	}
}

var metadataKeys = []string{"role", "track"}

func anyMetadata(t *rapid.T) *rollouts.PodTemplateMetadata {
	if rapid.Bool().Draw(t, "no metadata") {
		return nil
	}
	labels := map[string]string{}
	for _, key := range metadataKeys {
		if value := rapid.SampledFrom([]string{"", "stable", "canary"}).Draw(t, key); value != "" {
			labels[key] = value
		}
	}
	return &rollouts.PodTemplateMetadata{Labels: labels}
}
