// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Behaviour says how long a pod of a template takes to become ready, and false if it never does.
type Behaviour func(template *corev1.PodTemplateSpec) (time.Duration, bool)

// Reliable pods are ready after a second, unless their first image is called bad.
func Reliable(template *corev1.PodTemplateSpec) (time.Duration, bool) {
	return time.Second, len(template.Spec.Containers) == 0 || !strings.HasPrefix(template.Spec.Containers[0].Image, "bad")
}

// Pod is one pod.
type Pod struct {
	// Serial tells pods apart: no two have the same.
	Serial int
	// Ready is true while the pod serves.
	Ready bool
	// Since is when the pod became what it is: ready, or not.
	Since time.Time
	// Created is when the pod was made.
	Created time.Time
	// Labels and Annotations are those of the template that the pod was made of, and what was put on it since.
	Labels, Annotations map[string]string
}

func (p *Pod) available(rs *appsv1.ReplicaSet, now time.Time) bool {
	return p.Ready && !now.Before(p.Since.Add(time.Duration(rs.Spec.MinReadySeconds)*time.Second))
}

// crowd stands for how many pods of the kind the pod's node has. It has nothing to do with how long the pod
// has been ready, so that of ready pods those that are not available yet may be the ones that stay.
func (p *Pod) crowd() int { return p.Serial % 3 }

// PodsOf are the pods of a ReplicaSet, which the caller must not modify.
func (c *Cluster) PodsOf(rs *appsv1.ReplicaSet) []*Pod { return c.pods[rs.UID] }

// Available is how many pods of a ReplicaSet are available in truth, whatever its status says.
func (c *Cluster) Available(rs *appsv1.ReplicaSet) int32 {
	var n int32
	for _, p := range c.pods[rs.UID] {
		if p.available(rs, c.now) {
			n++
		}
	}
	return n
}

// Remaining is how many of those will be left when the ReplicaSet has the size that it is told to have.
func (c *Cluster) Remaining(rs *appsv1.ReplicaSet) int32 {
	var n int32
	for _, p := range keep(c.pods[rs.UID], *rs.Spec.Replicas) {
		if p.available(rs, c.now) {
			n++
		}
	}
	return n
}

// Sleep moves the clock on. Pods become ready as their behaviour says; nobody is told of it until the
// ReplicaSets are synced.
func (c *Cluster) Sleep(d time.Duration) {
	c.now = c.now.Add(d)
	for _, rs := range c.sets {
		delay, starts := c.Pods(&rs.Spec.Template)
		for _, p := range c.pods[rs.UID] {
			if readyAt := p.Since.Add(delay); !p.Ready && starts && !c.now.Before(readyAt) {
				p.Ready, p.Since = true, readyAt
			}
		}
	}
}

// Disturb makes the i-th pod of a ReplicaSet, counted around, not ready for as long as it takes to start.
func (c *Cluster) Disturb(rs *appsv1.ReplicaSet, i int) {
	if pods := c.pods[rs.UID]; len(pods) > 0 {
		p := pods[i%len(pods)]
		p.Ready, p.Since = false, c.now
		c.tell("pod %d of %s fails", p.Serial, rs.Name)
	}
}

// SyncAll lets the ReplicaSet controller work on every ReplicaSet.
func (c *Cluster) SyncAll() {
	for _, rs := range c.ReplicaSets() {
		c.Sync(rs)
	}
}

// Sync lets the ReplicaSet controller work on one ReplicaSet: it makes or takes pods, those not ready and
// those ready last first, and writes the status if that changed.
func (c *Cluster) Sync(rs *appsv1.ReplicaSet) {
	c.manage(rs)
	c.report(rs, rs.Generation)
}

// SyncEarly is the first half of Sync, as the ReplicaSet controller really does it: the status that it
// writes has seen the size, but counts the pods as they were before any was made or taken.
func (c *Cluster) SyncEarly(rs *appsv1.ReplicaSet) {
	c.report(rs, rs.Generation)
	c.manage(rs)
}

// manage makes or takes pods. A ReplicaSet that is being deleted is left alone.
func (c *Cluster) manage(rs *appsv1.ReplicaSet) {
	if rs.DeletionTimestamp != nil {
		return
	}
	pods := keep(c.pods[rs.UID], *rs.Spec.Replicas)
	for len(pods) < int(*rs.Spec.Replicas) {
		c.serial++
		pods = append(pods, &Pod{Serial: c.serial, Since: c.now, Created: c.now, Labels: rs.Spec.Template.Labels, Annotations: rs.Spec.Template.Annotations})
	}
	c.pods[rs.UID] = pods
}

// ReportAll brings the status of every ReplicaSet up to date with its pods, and does nothing else.
func (c *Cluster) ReportAll() {
	for _, rs := range c.ReplicaSets() {
		c.report(rs, rs.Status.ObservedGeneration)
	}
}

func (c *Cluster) report(rs *appsv1.ReplicaSet, observed int64) {
	status := appsv1.ReplicaSetStatus{ObservedGeneration: observed, Replicas: int32(len(c.pods[rs.UID])), AvailableReplicas: c.Available(rs)}
	for _, p := range c.pods[rs.UID] {
		if p.Ready {
			status.ReadyReplicas++
		}
	}
	if was := rs.Status; was.ObservedGeneration != status.ObservedGeneration || was.Replicas != status.Replicas ||
		was.ReadyReplicas != status.ReadyReplicas || was.AvailableReplicas != status.AvailableReplicas {
		out := rs.DeepCopy()
		out.Status = status
		c.replace(rs, out)
		c.tell("%s has %d pods, %d ready, %d available", rs.Name, status.Replicas, status.ReadyReplicas, status.AvailableReplicas)
	}
}

// keep are the pods that stay when there are to be n at most, as the ReplicaSet controller ranks them:
// ready before not ready, then those on nodes with fewer pods of the kind, then those longer in that state.
func keep(pods []*Pod, n int32) []*Pod {
	ranked := slices.Clone(pods)
	slices.SortStableFunc(ranked, func(a, b *Pod) int {
		if a.Ready != b.Ready {
			if a.Ready {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.crowd(), b.crowd()), a.Since.Compare(b.Since), cmp.Compare(a.Serial, b.Serial))
	})
	return ranked[:min(len(ranked), int(n))]
}

// Remove deletes a ReplicaSet behind the controller's back: at once, or only marked as being deleted, with
// its pods still there, until it is removed again.
func (c *Cluster) Remove(rs *appsv1.ReplicaSet, atOnce bool) {
	if atOnce {
		c.replace(rs, nil)
		c.tell("%s is gone", rs.Name)
		return
	}
	out := rs.DeepCopy()
	now := metav1.NewTime(c.now)
	out.DeletionTimestamp = &now
	c.replace(rs, out)
	c.tell("%s is being deleted", rs.Name)
}

// Place adds a ReplicaSet that somebody else made, as it is.
func (c *Cluster) Place(rs *appsv1.ReplicaSet) {
	c.replace(nil, rs.DeepCopy())
	c.tell("%s appears", rs.Name)
}
