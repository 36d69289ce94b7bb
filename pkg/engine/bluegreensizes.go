// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.5 (G3, G7, G8, G13), 1.13 (H1), 1.19 (O2) and 1.1 (B7, B16); architecture, invariant 1.
//
// The bounds: no pod is made that takes the pods above 2 x replicas, one more while a single pod is restarted; pods
// of revisions that clients were led to before come on top for as long as scaleDownDelaySeconds keeps them, since
// that is what they are kept for. No pod is taken from the revision that clients are led to, but by a change of
// replicas, or by a restart within maxUnavailable.

// The defaults of blueGreen, for a Rollout that was stored without them.
const (
	defaultScaleDownDelaySeconds      int32 = 30
	defaultAbortScaleDownDelaySeconds int32 = 30
)

// deadlineOf is until when the pods of a ReplicaSet are kept, as it carries it; empty if nothing is said.
func deadlineOf(rs *appsv1.ReplicaSet) string {
	if rs == nil {
		return ""
	}
	return rs.Annotations[rollouts.ScaleDownDeadlineAnnotation]
}

// keptByDelay is true if clients were led to the revision of a ReplicaSet, and its pods are kept in case that they
// must be again.
func (d *decider) keptByDelay(rs *appsv1.ReplicaSet) bool {
	return deadlineOf(rs) != "" && rs.Annotations[rollouts.OutcomeAnnotation] == rollouts.OutcomePromoted && poolOf(rs).size > 0
}

// left is how long the pods of a ReplicaSet are still kept; 0 or less if no longer, or if that cannot be read.
func (d *decider) left(rs *appsv1.ReplicaSet) time.Duration {
	at, err := time.Parse(time.RFC3339Nano, deadlineOf(rs))
	if err != nil {
		return 0
	}
	return at.Sub(d.now)
}

// keptUntil is the deadline that a ReplicaSet is to carry at a size; empty if none.
func (d *decider) keptUntil(rs *appsv1.ReplicaSet, size int32) string {
	r := d.rollout
	bg := blueGreen(r)
	switch {
	case bg == nil || size == 0:
		return ""
	case rs == d.current && updateInFlight(r) && r.Status.Abort:
		return d.abortDeadline()
	case r.Spec.Paused:
		return deadlineOf(rs)
	case rs == d.stable && d.switched():
		if was := deadlineOf(rs); was != "" {
			return was
		}
		delay := time.Duration(ptr.Deref(bg.ScaleDownDelaySeconds, defaultScaleDownDelaySeconds)) * time.Second
		return d.now.Add(delay).UTC().Format(time.RFC3339Nano)
	default:
		return ""
	}
}

// abortDeadline is until when the pods of an aborted update are kept; empty if until the next change.
func (d *decider) abortDeadline() string {
	st := &d.rollout.Status
	delay := ptr.Deref(blueGreen(d.rollout).AbortScaleDownDelaySeconds, defaultAbortScaleDownDelaySeconds)
	if delay == 0 || st.AbortedAt == nil || d.stable == nil {
		return ""
	}
	return st.AbortedAt.Add(time.Duration(delay) * time.Second).UTC().Format(time.RFC3339Nano)
}

// noteDeadline adds the deadline that a ReplicaSet is to carry, with what became of its revision; or takes it off one
// that is in use again.
func (d *decider) noteDeadline(rs *appsv1.ReplicaSet, size int32, notes map[string]string) {
	until := d.keptUntil(rs, size)
	if until == deadlineOf(rs) {
		return
	}
	notes[rollouts.ScaleDownDeadlineAnnotation] = until
	if until != "" {
		d.noteOutcome(rs, false, notes)
	}
}

// blueGreenGoal is where the pods of the new and of the stable revision should settle. As long as clients are led to
// the new one, as they are for a moment after the abort of an update just when they were, it keeps its pods.
func (d *decider) blueGreenGoal() split {
	goal := d.blueGreenRoles()
	if d.current != nil && d.led() == hashOf(d.current) {
		goal.canary = max(goal.canary, min(poolOf(d.current).size, replicas(d.rollout)))
	}
	return goal
}

// blueGreenRoles is how many pods the new and the stable revision should have for what they are.
func (d *decider) blueGreenRoles() split {
	r, n := d.rollout, replicas(d.rollout)
	current, stable := poolOf(d.current), poolOf(d.stable)
	kept := min(current.size, n)
	switch {
	case !updateInFlight(r):
		return split{canary: n}
	case d.stable == nil && r.Status.Abort:
		return split{canary: kept} // As of canary: there is nothing to go back to.
	case d.stable == nil:
		return split{canary: n}
	case r.Status.Abort:
		return split{canary: d.abortedSize(kept), stable: n}
	case d.switched():
		return split{canary: n, stable: min(stable.size, n)}
	case r.Spec.Paused && current.size == 0:
		return split{stable: n} // It is not started.
	case promotedOn(r):
		return split{canary: n, stable: n}
	case r.Spec.Paused && d.keptByDelay(d.current):
		return split{canary: kept, stable: n} // To go back to it must stay a switch alone.
	default:
		return split{canary: previewReplicas(r), stable: n}
	}
}

// abortedSize is how many pods an aborted update still has. They go only by a deadline that its ReplicaSet is seen to
// carry, and that a retry takes off again: so that no controller that was held up takes them after that.
func (d *decider) abortedSize(kept int32) int32 {
	until := d.abortDeadline()
	if kept == 0 || until == "" || deadlineOf(d.current) != until || d.selected(hashOf(d.current)) {
		return kept
	}
	if d.left(d.current) > 0 {
		return kept
	}
	return 0
}

// blueGreenMove is the next sizes of the new, the stable and the older ReplicaSets.
func (d *decider) blueGreenMove() (split, []int32) {
	goal := d.withBlueGreenSpare(d.blueGreenGoal())
	current, stable := poolOf(d.current), poolOf(d.stable)
	older := d.olderBlueGreen()
	room := 2*replicas(d.rollout) - d.leavingPods()
	if d.spare() != nil {
		room++
	}
	for i, rs := range d.older {
		if !d.keptByDelay(rs) {
			room -= roomOf(poolOf(rs), older[i])
		}
	}
	// How many pods there are of one that has not taken up its size yet, nobody knows: the others wait for that.
	if slices.ContainsFunc(d.older, func(rs *appsv1.ReplicaSet) bool { return !poolOf(rs).observed }) {
		room = 0
	}
	next := split{canary: current.size, stable: stable.size}
	if goal.stable < stable.size || current.observed {
		next.stable = toward(stable, goal.stable, room-current.occupies())
	}
	if goal.canary < current.size || stable.observed {
		next.canary = toward(current, goal.canary, room-roomOf(stable, next.stable))
	}
	return next, older
}

// toward is the next size of a ReplicaSet on its way to a goal; it grows as far as there is room.
func toward(p pool, goal, room int32) int32 {
	if goal <= p.size {
		return goal
	}
	return max(p.size, min(goal, room))
}

// roomOf is the room that a ReplicaSet takes until its pods are seen to have followed its next size.
func roomOf(p pool, next int32) int32 {
	return max(next, p.occupies())
}

// olderBlueGreen is the next sizes of the ReplicaSets that are neither new nor stable. One that a Service leads to
// keeps its pods; one that clients were led to before keeps them for its time, as far as the limit lets it; the others
// serve nobody and go at once. While clients are led to no revision in particular, any pod may serve them: then only
// what is not needed goes.
func (d *decider) olderBlueGreen() []int32 {
	r, n := d.rollout, replicas(d.rollout)
	drained, _ := board{n: n, canary: d.poolNow(d.current), stable: d.poolNow(d.stable), older: d.olderPools()}.drainOlder()
	limit, kept := blueGreen(r).ScaleDownDelayRevisionLimit, int32(0)
	next := make([]int32, len(d.older))
	for i, rs := range d.older {
		next[i] = min(poolOf(rs).size, n)
		switch {
		case next[i] == 0 || r.Spec.Paused && !r.Status.Abort || d.selected(hashOf(rs)):
		case d.keptByDelay(rs):
			kept++
			if d.ledElsewhere(rs) && (d.left(rs) <= 0 || limit != nil && kept > *limit) {
				next[i] = 0
			}
		case d.ledElsewhere(rs):
			next[i] = 0
		default:
			next[i] = min(drained[i], n)
		}
	}
	return next
}

// moveBlueGreen decides the sizes of all ReplicaSets, and creates that of the current revision.
func (d *decider) moveBlueGreen() {
	r := d.rollout
	if !r.Status.Abort && d.current == nil && d.currentIsLeaving() {
		return // Nothing could replace it yet.
	}
	goal := d.withBlueGreenSpare(d.blueGreenGoal())
	next, older := d.blueGreenMove()
	if d.stable != nil {
		d.change(d.stable, next.stable, next.stable == goal.stable)
	}
	if d.current != nil {
		d.change(d.current, next.canary, next.canary == goal.canary)
	} else if !r.Spec.Paused && !r.Status.Abort {
		d.create(max(next.canary, 0))
	}
	for i, rs := range d.older {
		if was := poolOf(rs).size; older[i] != was {
			change := ReplicaSetChange{ReplicaSetRef: refTo(rs), Replicas: older[i], MinReadySeconds: rs.Spec.MinReadySeconds}
			if older[i] == 0 && deadlineOf(rs) != "" {
				change.Annotations = map[string]string{rollouts.ScaleDownDeadlineAnnotation: ""}
			}
			d.out.Scale = append(d.out.Scale, change)
		}
	}
	d.awaitDeadlines(older)
}

// awaitDeadlines asks to be called when the pods of a revision need not be kept any more.
func (d *decider) awaitDeadlines(older []int32) {
	r := d.rollout
	if updateInFlight(r) && r.Status.Abort && d.current != nil && deadlineOf(d.current) == d.abortDeadline() {
		d.awaitDeadline(d.current, poolOf(d.current).size)
	}
	if r.Spec.Paused && !r.Status.Abort {
		return
	}
	for i, rs := range d.older {
		if d.keptByDelay(rs) && d.ledElsewhere(rs) {
			d.awaitDeadline(rs, older[i])
		}
	}
}

func (d *decider) awaitDeadline(rs *appsv1.ReplicaSet, size int32) {
	if left := d.left(rs); size > 0 && left > 0 {
		d.requeueIn(left)
	}
}

// spare is the ReplicaSet that has one pod more while its pods are restarted, since none of those that clients are
// led to may be missing; nil if none has.
func (d *decider) spare() *appsv1.ReplicaSet {
	r := d.rollout
	if _, unavailable := fenceposts(r); d.restart == nil || unavailable > 0 || replicas(r) == 0 || d.restart.holder == nil || d.restart.holder != d.serving() {
		return nil
	}
	if d.restart.holder == d.current && updateInFlight(r) && r.Status.Abort {
		return nil // It is left by clients right now.
	}
	return d.restart.holder
}

func (d *decider) withBlueGreenSpare(s split) split {
	switch d.spare() {
	case nil:
	case d.current:
		s.canary++
	case d.stable:
		s.stable++
	}
	return s
}

// evictionBudgets are how many available pods of each ReplicaSet may be evicted now. Those that clients are led to
// may miss maxUnavailable; of the others at least one may be missing.
func (d *decider) evictionBudgets() map[*appsv1.ReplicaSet]int32 {
	_, unavailable := fenceposts(d.rollout)
	goal := d.blueGreenGoal()
	budgets := map[*appsv1.ReplicaSet]int32{}
	for _, rs := range d.owned() {
		may, wanted := max(unavailable, 1), poolOf(rs).size
		if rs == d.serving() {
			may = unavailable
		}
		switch rs {
		case d.current:
			wanted = min(wanted, goal.canary)
		case d.stable:
			wanted = min(wanted, goal.stable)
		}
		budgets[rs] = min(d.poolNow(rs).holds(), d.restart.availableOf[rs]) - (wanted - may)
	}
	return budgets
}

// blueGreenSettled is true if no ReplicaSet is on its way to another size.
func (d *decider) blueGreenSettled() bool {
	next, older := d.blueGreenMove()
	return d.current != nil && next == (split{poolOf(d.current).size, poolOf(d.stable).size}) && slices.Equal(older, sizes(d.olderPools()))
}
