// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// watchBlueGreen holds whatever happens from now on against the invariants, for blueGreen:
//
//  1. at every write to a ReplicaSet and to a Service (checkBlueGreenWrite, checkLead), and at every eviction
//     (checkBlueGreenEviction); not while a decision is written that was made on what is no more: see watch.
//  2. the one step, the promotion, when it is due: at every decision (checkDecidedPromotion).
//  3. a promote ends that pause: at every verb (checkBlueGreenVerb).
//  4. and 5. at the end (endBlueGreenByAbort, endBlueGreenByRollback).
//  6. at every write to a ReplicaSet and to a Service (checkOwner, checkManager).
//  7. the same decision on the same, at every decision (checkDeterminism). What follows from a Service being led is
//     decided once that is seen, so that a decision may be followed by others; settle sees that they end.
//  8. and 9. at the end (settle, checkBlueGreenEnd).
func (m *machine) watchBlueGreen() {
	m.OnWrite = func(before, after *appsv1.ReplicaSet) {
		m.checkOwner(before, after)
		if !m.stale {
			m.checkBlueGreenWrite(before, after)
		}
	}
	m.OnLead = func(before, after *corev1.Service) {
		m.checkManager(before, after)
		if !m.stale {
			m.checkLead(before, after)
		}
	}
	m.OnEvict = func(rs *appsv1.ReplicaSet, pod *simulator.Pod) {
		if !m.stale {
			m.checkBlueGreenEviction(rs, pod)
		}
	}
	m.decided = func(s engine.Snapshot, d engine.Decision) {
		m.checkDecidedPromotion(s, d)
		m.checkDeterminism(s, d)
	}
	m.asked = m.checkBlueGreenVerb
}

// checkBlueGreenEviction: only what is older than a restart that was asked for is evicted.
func (m *machine) checkBlueGreenEviction(rs *appsv1.ReplicaSet, pod *simulator.Pod) {
	if at := m.Rollout.Spec.RestartAt; at == nil || !pod.Created.Before(at.Time) {
		m.fail("evicted pod %d of %s, which is not older than the restart", pod.Serial, rs.Name)
	}
}

// arriveBlueGreen brings the journey to its end.
func (m *machine) arriveBlueGreen(t *rapid.T) {
	m.end(t, map[string]func(){"as it is": func() {}, "abort": m.endBlueGreenByAbort, "rollback": m.endBlueGreenByRollback})
	m.healServices()
	m.settle()
	m.checkStored()
	m.checkBlueGreenEnd()
}
