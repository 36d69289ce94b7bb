// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/engine"
)

// longReady is how long the pods that a snapshot counts as available have been ready for.
const longReady = 1000 * time.Hour

// seededSerial is where the serials of a seeded cluster begin.
const seededSerial = 1 << 32

// From is a cluster in the state of a snapshot, with the pods that the ReplicaSets count: so many available, so
// many more ready, and the others not ready yet. It keeps no trace.
func From(s engine.Snapshot) *Cluster {
	c := &Cluster{Rollout: s.Rollout.DeepCopy(), Pods: Reliable, Decide: engine.Decide, now: s.Now, pods: map[types.UID][]*Pod{}, author: defaultAuthor}
	c.trace.off = true
	// What is made here must not have the uid of anything in a snapshot of another simulated cluster.
	c.serial = seededSerial
	// Versions count on from here, and only here.
	c.version = 1
	c.Rollout.ResourceVersion = c.nextVersion()
	for _, seen := range s.ReplicaSets {
		rs := seen.DeepCopy()
		rs.ResourceVersion = c.nextVersion()
		if rs.UID == "" {
			rs.UID = types.UID("seeded-" + strconv.Itoa(len(c.sets)))
		}
		c.sets = append(c.sets, rs)
		c.pods[rs.UID] = c.podsLike(rs)
	}
	for _, seen := range s.Services {
		service := seen.DeepCopy()
		service.ResourceVersion = c.nextVersion()
		c.services = append(c.services, service)
	}
	return c
}

// podsLike are the pods that the status of a ReplicaSet counts.
func (c *Cluster) podsLike(rs *appsv1.ReplicaSet) []*Pod {
	pods := make([]*Pod, 0, rs.Status.Replicas)
	for i := range rs.Status.Replicas {
		c.serial++
		pod := &Pod{Serial: c.serial, Since: c.now, Created: rs.CreationTimestamp.Time, Labels: rs.Spec.Template.Labels, Annotations: rs.Spec.Template.Annotations}
		if i < rs.Status.ReadyReplicas {
			pod.Ready = true
		}
		if i < rs.Status.AvailableReplicas {
			pod.Since = c.now.Add(-longReady)
		}
		pods = append(pods, pod)
	}
	return pods
}
