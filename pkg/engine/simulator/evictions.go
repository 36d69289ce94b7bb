// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/engine"
)

// uid is that of the pod in the API.
func (p *Pod) uid() types.UID { return types.UID("pod-" + strconv.Itoa(p.Serial)) }

// seenPods are the pods as the caches of the controller keep them; none while nobody looks at them: no restart is
// asked for, and nothing is put on pods.
func (c *Cluster) seenPods() []*corev1.Pod {
	if c.Rollout.Spec.RestartAt == nil && !engine.LooksAtPods(c.Rollout, c.sets) {
		return nil
	}
	var seen []*corev1.Pod
	for _, rs := range c.sets {
		for _, p := range c.pods[rs.UID] {
			seen = append(seen, podOf(rs, p))
		}
	}
	return seen
}

func podOf(rs *appsv1.ReplicaSet, p *Pod) *corev1.Pod {
	yes, ready := true, corev1.ConditionFalse
	if p.Ready {
		ready = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: string(p.uid()), UID: p.uid(), CreationTimestamp: metav1.NewTime(p.Created.Truncate(time.Second)),
			Labels: maps.Clone(p.Labels), Annotations: maps.Clone(p.Annotations),
			OwnerReferences: []metav1.OwnerReference{{UID: rs.UID, Name: rs.Name, Kind: "ReplicaSet", Controller: &yes}},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(p.Since)}},
		},
	}
}

// evict takes a pod away, unless the budget forbids it; then no other is tried for a while.
func (c *Cluster) evict(ref engine.PodRef) {
	for _, rs := range c.sets {
		i := slices.IndexFunc(c.pods[rs.UID], func(p *Pod) bool { return p.uid() == ref.UID })
		if i < 0 {
			continue
		}
		if pod := c.pods[rs.UID][i]; pod.Ready && c.ready() <= c.MinAvailable {
			c.refusedAt, c.refusal = c.now, "Cannot evict pod as it would violate the pod's disruption budget."
			c.tell("eviction of %s refused", ref.Name)
			return
		}
		if c.OnEvict != nil {
			c.OnEvict(rs, c.pods[rs.UID][i])
		}
		c.pods[rs.UID] = slices.Delete(slices.Clone(c.pods[rs.UID]), i, i+1)
		c.Written.Evictions++
		c.tell("evict %s of %s", ref.Name, rs.Name)
		return
	}
}

// ready is how many pods are ready, of all ReplicaSets: what a PodDisruptionBudget counts.
func (c *Cluster) ready() int {
	n := 0
	for _, rs := range c.sets {
		for _, p := range c.pods[rs.UID] {
			if p.Ready {
				n++
			}
		}
	}
	return n
}

// evictionRefused is what the controller remembers of refused evictions.
func (c *Cluster) evictionRefused() string {
	if c.refusal != "" && c.now.Before(c.refusedAt.Add(engine.EvictAgainAfter)) {
		return c.refusal
	}
	return ""
}
