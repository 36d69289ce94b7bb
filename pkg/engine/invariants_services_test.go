// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// TestServicesNeverLeadNowhere: no write of ours leaves a Service that we manage with a revision without an available
// pod while another has one (see guardServices for what is exempt); and after each decision on what the pods really
// are, every Service that can be led leads to pods, if the current or the stable revision has any that will stay.
func TestServicesNeverLeadNowhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		guardServices(m.Cluster, m.fail)
		m.reconciled = func(_ engine.Snapshot, d engine.Decision) {
			// A restart takes pods one by one; what that leaves shows at the next decision. To adopt is one of its own.
			if len(d.Evict) == 0 && len(d.Adopt) == 0 {
				m.checkServices()
			}
		}
		m.run(false)
		m.settle()
		m.checkServices()
	})
}

func (m *machine) checkServices() {
	st, canary := m.Rollout.Status, m.Rollout.Spec.Strategy.Canary
	if m.heldBack() || m.isHeld() {
		return // Nothing is done.
	}
	for _, name := range []string{canary.StableService, canary.CanaryService} {
		service := m.Service(name)
		if service == nil || service.Annotations[rollouts.ManagedByRolloutAnnotation] != m.Rollout.Name {
			continue
		}
		if rs := m.Find(m.LeadsTo(name)); rs != nil && surely(rs) > 0 {
			continue
		}
		for _, hash := range []string{st.CurrentPodHash, st.StableRS} {
			if !m.observed() {
				break // Until the ReplicaSet controller has seen the last write nobody knows which pods there are.
			}
			if rs := m.Find(hash); st.StableRS != "" && rs != nil && isOwned(m.Cluster, rs) && surely(rs) > 0 {
				m.fail("Service %s leads to %q, which has no pod, and %s has", name, m.LeadsTo(name), rs.Name)
			}
		}
	}
}

// observed is true if the status of every ReplicaSet speaks of what it is told to be.
func (m *machine) observed() bool {
	return !slices.ContainsFunc(m.owned(), func(rs *appsv1.ReplicaSet) bool { return rs.Status.ObservedGeneration < rs.Generation })
}

// isHeld is true if nothing is done since the stored Rollout is too old.
func (m *machine) isHeld() bool {
	return slices.ContainsFunc(m.Rollout.Status.Conditions, func(c rollouts.RolloutCondition) bool { return c.Type == rollouts.RolloutHeld })
}

// surely is how many available pods a ReplicaSet has, whichever of the ready ones stay.
func surely(rs *appsv1.ReplicaSet) int32 {
	st := rs.Status
	if st.Replicas <= *rs.Spec.Replicas {
		return st.AvailableReplicas
	}
	return min(st.AvailableReplicas, *rs.Spec.Replicas-(st.ReadyReplicas-st.AvailableReplicas))
}

// lacksService is true if the Rollout is called Degraded for a Service.
func (m *machine) lacksService() bool {
	return strings.HasPrefix(m.Rollout.Status.Message, "InvalidSpec: ")
}
