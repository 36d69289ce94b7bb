// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/pkg/engine/simulator"
)

// checkEviction: a pod that is available is evicted only while enough others are.
func (m *machine) checkEviction(rs *appsv1.ReplicaSet, pod *simulator.Pod) {
	n, _, unavailable := bounds(m.Rollout)
	var available int32
	for _, rs := range m.owned() {
		available += m.Available(rs)
	}
	if pod.Ready && !m.Now().Before(pod.Since.Add(time.Duration(rs.Spec.MinReadySeconds)*time.Second)) && available-1 < n-unavailable {
		m.fail("evicted pod %d of %s, so that %d pods are available: fewer than replicas %d - maxUnavailable %d", pod.Serial, rs.Name, available-1, n, unavailable)
	}
	if at := m.Rollout.Spec.RestartAt; at == nil || !pod.Created.Truncate(time.Second).Before(at.Time) {
		m.fail("evicted pod %d of %s, which is not older than the restart", pod.Serial, rs.Name)
	}
}

// restarting is true while pods are to be replaced that work.
func (m *machine) restarting() bool {
	r := m.Rollout
	return r.Spec.RestartAt != nil && !r.Spec.RestartAt.Equal(r.Status.RestartedAt)
}
