// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.19 (O4: order, how many at once, refused evictions), 4.2 (row 5) and 7.19 (a
// single pod must be replaced before it is evicted); architecture, invariant 1.

// EvictAgainAfter is when an eviction that was refused is tried again.
const EvictAgainAfter = 30 * time.Second

// restart is what is left of a restart: pods older than spec.restartAt.
type restart struct {
	// old are the pods to be replaced, in the order in which they are.
	old []*corev1.Pod
	// pods is how many pods there are that are not on their way out, and available how many of them are
	// available.
	pods, available int32
	// availableOf is how many pods of each ReplicaSet are available.
	availableOf map[*appsv1.ReplicaSet]int32
	// holder is the ReplicaSet of the first of old.
	holder *appsv1.ReplicaSet
	// blind is true while the ReplicaSets count pods that are not seen yet.
	blind bool
	// moved is true if there are fewer old pods than were told of, or others.
	moved bool
	// refused is true while it waits for the host to let pods be evicted.
	refused bool
}

// beginRestart sees what is left of the restart that is asked for, and whether it has come to its end.
func (d *decider) beginRestart() {
	r, st := d.rollout, &d.rollout.Status
	at := r.Spec.RestartAt
	switch {
	case at == nil || at.Equal(st.RestartedAt):
		removeCondition(st, rollouts.RolloutRestarting)
		return
	case d.now.Before(at.Time):
		removeCondition(st, rollouts.RolloutRestarting)
		d.requeueIn(at.Sub(d.now))
		return
	case r.Spec.Paused:
		return // Frozen where it is.
	}
	d.restart = d.surveyRestart(at.Time)
	if len(d.restart.old) == 0 && !d.restart.blind {
		st.RestartedAt = at.DeepCopy()
		removeCondition(st, rollouts.RolloutRestarting)
		d.restart = nil
		return
	}
	reason, message := d.tellRestart(fmt.Sprintf("%d of %d pods are older than %s and are to be replaced", len(d.restart.old), d.restart.pods, at.UTC().Format(time.RFC3339)))
	setCondition(st, rollouts.RolloutRestarting, corev1.ConditionTrue, reason, message, d.now)
}

// tellRestart is the reason and the message of the condition of a restart. What was refused stays refused until a
// pod has gone, though it is tried again in between: else the status would change with every attempt.
func (d *decider) tellRestart(left string) (reason, message string) {
	was := findCondition(d.stored, rollouts.RolloutRestarting)
	d.restart.moved = was == nil || !strings.HasPrefix(was.Message, left)
	reason, message = reasonEvicting, left
	switch {
	case d.observed.EvictionRefused != "":
		reason, message = reasonEvictionRefused, left+": "+d.observed.EvictionRefused
	case was != nil && was.Reason == reasonEvictionRefused && !d.restart.moved:
		reason, message = was.Reason, was.Message
	}
	d.restart.refused = reason == reasonEvictionRefused
	return reason, message
}

// restartEnded is true in the decision in which a restart comes to its end.
func (d *decider) restartEnded() bool {
	return findCondition(d.stored, rollouts.RolloutRestarting) != nil && findCondition(&d.rollout.Status, rollouts.RolloutRestarting) == nil
}

// surveyRestart looks at the pods: the stable ones first, then the current ones, then others.
func (d *decider) surveyRestart(at time.Time) *restart {
	left := &restart{availableOf: map[*appsv1.ReplicaSet]int32{}}
	for _, rs := range slices.Concat([]*appsv1.ReplicaSet{d.stable, d.current}, d.older) {
		if rs == nil {
			continue
		}
		seen := int32(0)
		for _, pod := range d.podsOf(rs) {
			seen++
			if reason, _, _ := ailment(pod, d.rollout.Spec.MinReadySeconds, d.now); reason == "" {
				left.available++
				left.availableOf[rs]++
			}
			if pod.CreationTimestamp.Time.Before(at) {
				left.old = append(left.old, pod)
				left.holder = cmp.Or(left.holder, rs)
			}
		}
		left.pods += seen
		left.blind = left.blind || seen < rs.Status.Replicas
	}
	return left
}

// podsOf are the pods of a ReplicaSet that are not on their way out, by name.
func (d *decider) podsOf(rs *appsv1.ReplicaSet) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range d.observed.Pods {
		if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.UID == rs.UID && pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods
}

// withSpare is a split with one pod more where pods are to be restarted of which none may be missing: so that
// each is replaced before it goes.
func (d *decider) withSpare(s split) split {
	surge, unavailable := fenceposts(d.rollout)
	if d.restart == nil || d.restart.holder == nil || unavailable > 0 || surge == 0 || s.canary+s.stable > replicas(d.rollout) {
		return s
	}
	switch d.restart.holder {
	case d.current:
		s.canary++
	case d.stable:
		s.stable++
	}
	return s
}

// evict asks for old pods to go, as far as enough others are available; those that are not ready cost
// nothing. It waits while pods are being moved, since nobody knows then how many there are.
func (d *decider) evict() {
	if d.restart == nil {
		return
	}
	if d.observed.EvictionRefused != "" {
		d.requeueIn(EvictAgainAfter)
		return
	}
	b := d.board()
	if d.restart.blind || d.out.Create != nil || !b.observed() || d.resizing() {
		return
	}
	d.out.Evict = d.evictable()
}

// evictable are the old pods that may go now: as many as can be done without.
func (d *decider) evictable() []PodRef {
	budget := d.evictionBudget()
	var pods []PodRef
	for _, pod := range d.restart.old {
		// A ReplicaSet that was adopted may count a pod as available sooner than the Rollout asks for.
		if ready(pod) {
			left := budget(pod)
			if *left <= 0 {
				continue
			}
			*left--
		}
		pods = append(pods, PodRef{Name: pod.Name, UID: pod.UID})
	}
	return pods
}

// evictionBudget is how many available pods may go together with a pod: one number for all of a canary, one for each
// ReplicaSet with blueGreen.
func (d *decider) evictionBudget() func(*corev1.Pod) *int32 {
	if blueGreen(d.rollout) != nil {
		budgets := map[*appsv1.ReplicaSet]*int32{}
		for rs, n := range d.evictionBudgets() {
			budgets[rs] = &n
		}
		return func(pod *corev1.Pod) *int32 {
			if left := budgets[d.holderOf(pod)]; left != nil {
				return left
			}
			return new(int32)
		}
	}
	b := d.board()
	counted := b.canary.holds() + b.stable.holds() + sum(b.older, pool.holds)
	left := min(counted, d.restart.available) - b.minAvailable()
	return func(*corev1.Pod) *int32 { return &left }
}

// holderOf is the ReplicaSet of a pod; nil if the Rollout does not control it.
func (d *decider) holderOf(pod *corev1.Pod) *appsv1.ReplicaSet {
	owner := metav1.GetControllerOfNoCopy(pod)
	for _, rs := range d.owned() {
		if owner != nil && rs.UID == owner.UID {
			return rs
		}
	}
	return nil
}

func ready(pod *corev1.Pod) bool {
	c := podCondition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// resizing is true if this decision changes the size of a ReplicaSet.
func (d *decider) resizing() bool {
	return slices.ContainsFunc(d.out.Scale, func(c ReplicaSetChange) bool {
		return slices.ContainsFunc(d.owned(), func(rs *appsv1.ReplicaSet) bool {
			return rs.UID == c.UID && poolOf(rs).size != c.Replicas
		})
	})
}
