// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// ErrConflict is the answer to a write of something that has changed since it was read.
var ErrConflict = errors.New("the object has been modified")

// ErrCrashed is what Apply returns when its writes are used up.
var ErrCrashed = errors.New("crashed")

// Cluster is one Rollout, its ReplicaSets and their pods. What it hands out is never modified afterwards:
// a write replaces the object.
type Cluster struct {
	// Rollout is the Rollout as stored.
	Rollout *rollouts.Rollout
	// Pods says how a template's pods behave.
	Pods Behaviour
	// MinAvailable is that of a PodDisruptionBudget over all pods; 0 is none.
	MinAvailable int
	// Written counts writes.
	Written Writes
	// Events are all that were recorded.
	Events []engine.Event
	// Decide is what the controller decides with: engine.Decide, unless a test watches it or breaks it.
	Decide func(engine.Snapshot) engine.Decision
	// OnWrite, if set, is called after each write to a ReplicaSet, with its state before (nil if it is
	// new) and after (nil if it is gone).
	OnWrite func(before, after *appsv1.ReplicaSet)
	// OnEvict, if set, is called before a pod of a ReplicaSet is evicted.
	OnEvict func(rs *appsv1.ReplicaSet, pod *Pod)
	// OnLead, if set, is called after each write to a Service, with its state before and after.
	OnLead func(before, after *corev1.Service)

	now      time.Time
	sets     []*appsv1.ReplicaSet
	services []*corev1.Service
	workload *appsv1.Deployment
	pods     map[types.UID][]*Pod
	version  int64
	serial   int
	trace    trace

	author    string
	refusedAt time.Time
	refusal   string
}

// Writes counts what was written.
type Writes struct {
	// ReplicaSets counts creates, changes and deletes of ReplicaSets.
	ReplicaSets int
	// Status counts writes of the Rollout's status by the controller.
	Status int
	// Evictions counts pods that were evicted.
	Evictions int
	// Pods counts changes of the metadata of pods.
	Pods int
	// Services counts changes of Services.
	Services int
	// Workloads counts changes of the Deployment.
	Workloads int
}

// New is a cluster in which a Rollout has just been created, at the given time.
func New(r *rollouts.Rollout, now time.Time) *Cluster {
	c := &Cluster{now: now, pods: map[types.UID][]*Pod{}, Pods: Reliable, Decide: engine.Decide, author: defaultAuthor}
	created := r.DeepCopy()
	created.UID = types.UID("rollout-" + created.Name)
	created.Generation = 1
	created.CreationTimestamp = metav1.NewTime(now)
	if created.Spec.WorkloadRef != nil {
		c.store(engine.Referring(created))
	} else {
		c.store(engine.Created(created, engine.Resolve(created, &created.Spec.Template, nil), defaultAuthor))
	}
	c.tell("created with %d replicas", replicas(r))
	return c
}

// Now is the time in the cluster.
func (c *Cluster) Now() time.Time { return c.now }

// Snapshot is what the controller sees now.
func (c *Cluster) Snapshot() engine.Snapshot {
	return engine.Snapshot{Rollout: c.Rollout, ReplicaSets: slices.Clone(c.sets), Pods: c.seenPods(), Services: slices.Clone(c.services), Workload: c.referred(), EvictionRefused: c.evictionRefused(), Now: c.now}
}

// ReplicaSets are all ReplicaSets, in order of creation.
func (c *Cluster) ReplicaSets() []*appsv1.ReplicaSet { return slices.Clone(c.sets) }

// Find is the ReplicaSet with a hash, not being deleted; nil if there is none.
func (c *Cluster) Find(hash string) *appsv1.ReplicaSet {
	for _, rs := range c.sets {
		if rs.Labels[rollouts.PodTemplateHashLabel] == hash && rs.DeletionTimestamp == nil {
			return rs
		}
	}
	return nil
}

// Reconcile decides on what the cluster is now, and writes all that was decided.
func (c *Cluster) Reconcile() engine.Decision {
	s := c.Snapshot()
	d := c.Decide(s)
	if err := c.Apply(s, d, -1); err != nil {
		panic(fmt.Sprintf("a decision on a fresh snapshot could not be written: %v", err))
	}
	return d
}

// Apply writes a decision that was made on s, in the order that it asks for, and stops at the first write
// that fails. It crashes after the given number of writes; −1 is as many as there are.
func (c *Cluster) Apply(s engine.Snapshot, d engine.Decision, writes int) error {
	var acts []func() error
	status := func() error { return c.writeStatus(s, d.Status) }
	if d.Status != nil && d.StatusFirst {
		acts = append(acts, status)
	}
	for _, ref := range d.Adopt {
		acts = append(acts, func() error { return c.adopt(ref) })
	}
	if d.Create != nil {
		acts = append(acts, func() error { return c.create(d.Create) })
	}
	for _, change := range d.Scale {
		acts = append(acts, func() error { return c.change(change) })
	}
	for _, change := range d.Pods {
		acts = append(acts, func() error { c.label(change); return nil })
	}
	for _, change := range d.Services {
		acts = append(acts, func() error { return c.lead(change) })
	}
	if d.Workload != nil {
		acts = append(acts, func() error { return c.resize(d.Workload) })
	}
	for _, ref := range d.Evict {
		acts = append(acts, func() error { c.evict(ref); return nil })
	}
	for _, ref := range d.Delete {
		acts = append(acts, func() error { return c.delete(ref) })
	}
	if d.Status != nil && !d.StatusFirst {
		acts = append(acts, status)
	}
	for _, act := range acts {
		if writes == 0 {
			c.tell("controller crashes")
			return ErrCrashed
		}
		writes--
		if err := act(); err != nil {
			c.tell("write refused: %v", err)
			return err
		}
	}
	for _, e := range d.Events {
		c.tell("event %s: %s", e.Reason, e.Message)
	}
	c.Events = append(c.Events, d.Events...)
	return nil
}

// store makes r the stored Rollout.
func (c *Cluster) store(r *rollouts.Rollout) {
	out := *r
	out.ResourceVersion = c.nextVersion()
	c.Rollout = &out
}

func (c *Cluster) writeStatus(s engine.Snapshot, status *rollouts.RolloutStatus) error {
	if s.Rollout.ResourceVersion != c.Rollout.ResourceVersion {
		return fmt.Errorf("status: %w", ErrConflict)
	}
	out := *c.Rollout
	out.Status = *status.DeepCopy()
	c.store(&out)
	c.Written.Status++
	c.tell("status %s", &out)
	return nil
}

func (c *Cluster) create(wanted *appsv1.ReplicaSet) error {
	if slices.ContainsFunc(c.sets, func(rs *appsv1.ReplicaSet) bool { return rs.Name == wanted.Name }) {
		return fmt.Errorf("ReplicaSet %s exists: %w", wanted.Name, ErrConflict)
	}
	rs := wanted.DeepCopy()
	c.serial++
	rs.UID = types.UID("rs-" + strconv.Itoa(c.serial))
	rs.Generation = 1
	rs.CreationTimestamp = metav1.NewTime(c.now.Truncate(time.Second)) // As hosts note it.
	c.write(nil, rs)
	c.tell("create %s with %d", rs.Name, *rs.Spec.Replicas)
	return nil
}

func (c *Cluster) adopt(ref engine.ReplicaSetRef) error {
	was, err := c.current(ref)
	if err != nil {
		return err
	}
	rs := was.DeepCopy()
	yes := true
	rs.OwnerReferences = append(rs.OwnerReferences, metav1.OwnerReference{UID: c.Rollout.UID, Kind: "Rollout", Name: c.Rollout.Name, Controller: &yes})
	c.write(was, rs)
	c.tell("adopt %s", rs.Name)
	return nil
}

func (c *Cluster) change(change engine.ReplicaSetChange) error {
	was, err := c.current(change.ReplicaSetRef)
	if err != nil {
		return err
	}
	rs := was.DeepCopy()
	size := change.Replicas
	rs.Spec.Replicas, rs.Spec.MinReadySeconds = &size, change.MinReadySeconds
	if *was.Spec.Replicas != size || was.Spec.MinReadySeconds != change.MinReadySeconds {
		rs.Generation++
	}
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range change.Annotations {
		rs.Annotations[k] = v
	}
	if t := change.Template; t != nil {
		rs.Generation++
		template := &rs.Spec.Template.ObjectMeta
		template.Labels, template.Annotations = changed(template.Labels, t.SetLabels, t.RemoveLabels), changed(template.Annotations, t.SetAnnotations, t.RemoveAnnotations)
	}
	c.write(was, rs)
	c.tell("scale %s %d -> %d %v", rs.Name, *was.Spec.Replicas, size, change.Annotations)
	return nil
}

func (c *Cluster) delete(ref engine.ReplicaSetRef) error {
	was, err := c.current(ref)
	if err != nil {
		return err
	}
	c.write(was, nil)
	c.tell("delete %s", was.Name)
	return nil
}

// current is the ReplicaSet in exactly the state that ref names.
func (c *Cluster) current(ref engine.ReplicaSetRef) (*appsv1.ReplicaSet, error) {
	for _, rs := range c.sets {
		if rs.UID == ref.UID && rs.ResourceVersion == ref.ResourceVersion && rs.Name == ref.Name {
			return rs, nil
		}
	}
	return nil, fmt.Errorf("ReplicaSet %s: %w", ref.Name, ErrConflict)
}

// write counts a write of the controller to a ReplicaSet.
func (c *Cluster) write(before, after *appsv1.ReplicaSet) {
	c.Written.ReplicaSets++
	c.replace(before, after)
	if c.OnWrite != nil {
		c.OnWrite(before, after)
	}
}

// replace puts after in the place of before; nil is a ReplicaSet that does not exist.
func (c *Cluster) replace(before, after *appsv1.ReplicaSet) {
	if after != nil {
		after.ResourceVersion = c.nextVersion()
	}
	if before == nil {
		c.sets = append(c.sets, after)
		return
	}
	i := slices.IndexFunc(c.sets, func(rs *appsv1.ReplicaSet) bool { return rs.UID == before.UID })
	if after != nil {
		c.sets[i] = after
		return
	}
	c.sets = slices.Delete(c.sets, i, i+1)
	delete(c.pods, before.UID)
}

func (c *Cluster) nextVersion() string {
	c.version++
	return strconv.FormatInt(c.version, 10)
}

func replicas(r *rollouts.Rollout) int32 {
	if r.Spec.Replicas == nil {
		return 1
	}
	return *r.Spec.Replicas
}
