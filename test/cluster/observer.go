// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

// gapDelay is how long an Observer waits before it asks a host again that has died: there is to be little that it does
// not see.
const gapDelay = 20 * time.Millisecond

// Bounds are what an update must keep to at every instant. Unit: pods.
type Bounds struct {
	// MaxPods is replicas + maxSurge.
	MaxPods int
	// MinAvailable is replicas - maxUnavailable.
	MinAvailable int
}

// Tally is what an Observer has seen.
type Tally struct {
	// States is how many states were looked at: one for each event of the watches.
	States int
	// MostPods and FewestAvailable are the extremes since the bounds were last set. Unit: pods.
	MostPods, FewestAvailable int
	// Gone are the pods that were deleted, began to be, or had a container restarted, by name.
	Gone []string
	// Gaps is how often a watch broke and began anew with a list; see ObserveThrough.
	Gaps int
}

// Observer holds every state that a watch on pods and ReplicaSets shows against bounds. A pod that is being
// deleted counts neither as a pod nor as available.
type Observer struct {
	stop context.CancelFunc
	done sync.WaitGroup
	// through is true if watches that break begin anew.
	through bool

	mu       sync.Mutex
	bounds   Bounds
	tally    Tally
	gone     map[types.UID]bool
	problems []error
}

// Observe begins to observe the pods and ReplicaSets that the label selector finds in the namespace. It
// returns when the watches have shown the present state.
func (c *Cluster) Observe(ctx context.Context, namespace, selector string, bounds Bounds) (*Observer, error) {
	return c.observe(ctx, namespace, selector, bounds, false)
}

// ObserveThrough is Observe for when the host itself is killed: a watch that breaks begins anew, and Tally.Gaps counts
// that. What was written in the last moment before the host died is then seen only in the list after it; while it is
// dead, nobody writes.
func (c *Cluster) ObserveThrough(ctx context.Context, namespace, selector string, bounds Bounds) (*Observer, error) {
	return c.observe(ctx, namespace, selector, bounds, true)
}

func (c *Cluster) observe(ctx context.Context, namespace, selector string, bounds Bounds, through bool) (*Observer, error) {
	ctx, stop := context.WithCancel(ctx)
	o := &Observer{stop: stop, through: through, bounds: bounds, tally: Tally{FewestAvailable: bounds.MaxPods}, gone: map[types.UID]bool{}}
	pods := observe(ctx, o, c.Pods(namespace, selector), o.seePods)
	sets := observe(ctx, o, c.ReplicaSets(namespace, selector), o.seeReplicaSets)
	for _, begun := range []<-chan struct{}{pods, sets} {
		select {
		case <-begun:
		case <-ctx.Done():
			_, err := o.Stop()
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
	return o, nil
}

// observe follows the source in the background, and closes the channel when it has seen the present state.
// A watch that breaks is a problem, since nobody has seen what happened then.
func observe[T metav1.Object](ctx context.Context, o *Observer, source Source[T], see func(T, map[types.UID]T)) <-chan struct{} {
	begun := make(chan struct{})
	o.done.Go(func() {
		listed := sync.OnceFunc(func() { close(begun) })
		for ctx.Err() == nil {
			seen := false
			err := follow(ctx, source, func(_ watch.EventType, object T, all map[types.UID]T) bool {
				see(object, all)
				listed()
				seen = true
				return true
			})
			if !o.goOn(ctx, source.Title, seen, err) {
				return
			}
		}
	})
	return begun
}

// goOn is asked when a watch has ended, and waits until it is time for the next one; false if there is to be none.
func (o *Observer) goOn(ctx context.Context, title string, seen bool, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	o.mu.Lock()
	if seen {
		o.tally.Gaps++
	}
	if !o.through {
		o.problems = append(o.problems, fmt.Errorf("the watch of %s ended: %w", title, err))
		o.stop()
	}
	o.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-time.After(gapDelay):
		return true
	}
}

// SetBounds changes the bounds, and begins the tally anew.
func (o *Observer) SetBounds(bounds Bounds) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bounds, o.tally = bounds, Tally{FewestAvailable: bounds.MaxPods}
}

// Tally is what was seen so far. The error names every state out of bounds.
func (o *Observer) Tally() (Tally, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tally, errors.Join(o.problems...)
}

// Stop ends the observation and returns the last Tally.
func (o *Observer) Stop() (Tally, error) {
	o.stop()
	o.done.Wait()
	return o.Tally()
}

func (o *Observer) seePods(pod *corev1.Pod, all map[types.UID]*corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if pod != nil && !o.gone[pod.UID] && (all[pod.UID] == nil || pod.DeletionTimestamp != nil || restarts(pod) > 0) {
		o.gone[pod.UID] = true
		o.tally.Gone = append(o.tally.Gone, pod.Name)
	}
	count, available := 0, 0
	for _, p := range all {
		if p.DeletionTimestamp != nil {
			continue
		}
		count++
		if Ready(p) {
			available++
		}
	}
	o.tally.States++
	o.tally.MostPods = max(o.tally.MostPods, count)
	o.tally.FewestAvailable = min(o.tally.FewestAvailable, available)
	if count > o.bounds.MaxPods {
		o.problems = append(o.problems, fmt.Errorf("%d pods, more than the %d of replicas + maxSurge", count, o.bounds.MaxPods))
	}
	if available < o.bounds.MinAvailable {
		o.problems = append(o.problems, fmt.Errorf("%d available pods, fewer than the %d of replicas - maxUnavailable", available, o.bounds.MinAvailable))
	}
}

func (o *Observer) seeReplicaSets(_ *appsv1.ReplicaSet, all map[types.UID]*appsv1.ReplicaSet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sum := 0
	for _, set := range all {
		if set.DeletionTimestamp == nil {
			sum += int(ptr.Deref(set.Spec.Replicas, 1))
		}
	}
	o.tally.States++
	if sum > o.bounds.MaxPods {
		o.problems = append(o.problems, fmt.Errorf("ReplicaSets are told to have %d pods, more than the %d of replicas + maxSurge", sum, o.bounds.MaxPods))
	}
}

// Ready says whether the pod is ready, which with minReadySeconds 0 means available.
func Ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func restarts(pod *corev1.Pod) int32 {
	sum := int32(0)
	for i := range pod.Status.ContainerStatuses {
		sum += pod.Status.ContainerStatuses[i].RestartCount
	}
	return sum
}
