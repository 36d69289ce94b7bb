// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 2.5.1 (no distinct stable ReplicaSet), 1.1 (B7, with Correction 8: an abort
// moves pods while paused too), 1.19 (O3: stable, then new, then others), 7.4 and 7.9.

// target is where the pods should settle now.
func (d *decider) target() split {
	return d.withSpare(d.settled())
}

// settled is where the pods settle with no restart in progress.
func (d *decider) settled() split {
	r, n := d.rollout, replicas(d.rollout)
	if updateInFlight(r) && d.stable != nil {
		if d.standsBack(poolOf(d.current).size) {
			return split{stable: n}
		}
		surge, _ := fenceposts(r)
		return splitFor(n, SetWeight(r), surge)
	}
	if r.Status.Abort {
		// What there was to go back to is gone. What was aborted gets no pod by that, and what still
		// serves is not taken away.
		return split{canary: min(poolOf(d.current).size, n)}
	}
	return split{canary: n}
}

// standsBack is true while paused by hand if the new revision of an update has no pods: it is not started then, so that
// the stable one serves alone.
func (d *decider) standsBack(size int32) bool {
	return d.rollout.Spec.Paused && size == 0 && updateInFlight(d.rollout) && d.stable != nil
}

// movePods decides the sizes of all ReplicaSets, and creates that of the current revision.
func (d *decider) movePods() {
	if blueGreen(d.rollout) != nil {
		d.moveBlueGreen()
		return
	}
	b := d.board()
	next, older := split{b.canary.size, b.stable.size}, sizes(b.older)
	switch {
	case d.releasing: // Its clients are led to one revision only, until that is observed to have ended.
		next, older = d.whileReleasing(b)
	case !d.frozen():
		next, older = b.move()
	}
	// While paused a change of replicas is done when its goal is reached; else when the number of pods suits
	// it, since the goal may be far ahead.
	fits, goal := !d.rollout.Spec.Paused && b.fits(next, older), b.goal
	if d.standsBack(next.canary) {
		goal = split{stable: b.n}
	}
	if d.stable != nil {
		d.change(d.stable, next.stable, fits || next.stable == goal.stable)
	}
	if d.current != nil {
		d.change(d.current, next.canary, fits || next.canary == goal.canary)
	} else if !d.rollout.Spec.Paused && !d.rollout.Status.Abort && !d.currentIsLeaving() {
		d.create(next.canary)
	}
	for i, rs := range d.older {
		d.changeOlder(rs, older[i])
	}
	d.leadCanaryServices(b, next)
}

// create makes the ReplicaSet of the current revision.
func (d *decider) create(size int32) {
	d.out.Create = newReplicaSet(d.rollout, size)
	d.event(false, eventCreated, "Created ReplicaSet %q of revision %d with %s", d.out.Create.Name, d.rollout.Status.Revision, plural(int(size), "pod"))
}

// board is the position to move from.
func (d *decider) board() board {
	surge, unavailable := fenceposts(d.rollout)
	b := board{
		n: replicas(d.rollout), surge: surge, unavailable: unavailable, goal: d.target(),
		canary: d.poolNow(d.current), stable: d.poolNow(d.stable), older: d.olderPools(),
		leaving: d.leavingPods(),
	}
	d.keepServed(&b)
	return b
}

// leavingPods is how many pods the ReplicaSets that are being deleted still have.
func (d *decider) leavingPods() (pods int32) {
	for _, rs := range d.leaving {
		if p := poolOf(rs); p.observed {
			pods += p.pods
		} else {
			pods += p.occupies()
		}
	}
	return pods
}

// poolNow is the pool of the current or the stable ReplicaSet. Until it has taken up a change of
// spec.minReadySeconds, what it calls available may not be.
func (d *decider) poolNow(rs *appsv1.ReplicaSet) pool {
	p := poolOf(rs)
	p.outdated = rs != nil && rs.Spec.MinReadySeconds != d.rollout.Spec.MinReadySeconds
	return p
}

func (d *decider) olderPools() []pool {
	pools := make([]pool, len(d.older))
	for i, rs := range d.older {
		pools[i] = poolOf(rs)
	}
	return pools
}

func sizes(pools []pool) []int32 {
	out := make([]int32, len(pools))
	for i, p := range pools {
		out[i] = p.size
	}
	return out
}

// frozen is true while no pod may be moved: paused by hand, unless the update was aborted or the number of
// replicas changed; and while the ReplicaSet of the current revision is on its way out, which nothing
// could replace yet. An abort does not wait for that.
func (d *decider) frozen() bool {
	if d.rollout.Status.Abort {
		return false
	}
	if d.current == nil && d.currentIsLeaving() {
		return true
	}
	return d.rollout.Spec.Paused && !d.resized(d.current) && !d.resized(d.stable)
}

// resized is true if spec.replicas is not what the ReplicaSet was last brought to its size for. That of an
// update which has no pods yet was brought to none.
func (d *decider) resized(rs *appsv1.ReplicaSet) bool {
	if rs == nil || rs == d.current && updateInFlight(d.rollout) && poolOf(rs).size == 0 {
		return false
	}
	desired, set := rs.Annotations[rollouts.DesiredReplicasAnnotation]
	return set && desired != d.desired()
}

func (d *decider) desired() string {
	return strconv.Itoa(int(replicas(d.rollout)))
}

// change brings the current or the stable ReplicaSet to a size, and what it carries up to date, all in
// one write or none. done is true if with that a change of replicas is done.
func (d *decider) change(rs *appsv1.ReplicaSet, size int32, done bool) {
	was := poolOf(rs).size
	notes := map[string]string{}
	if rs == d.current && revisionOf(rs) < d.rollout.Status.Revision {
		d.noteAuthor(rs, notes)
		notes[rollouts.RevisionAnnotation] = strconv.FormatInt(d.rollout.Status.Revision, 10)
		if hashOf(rs) == d.rollout.Status.StableRS && revisionOf(rs) > 0 { // 0: somebody took it off.
			d.event(false, eventCompleted, "Rollout went back to revision %d (%s): Fast rollback", d.rollout.Status.Revision, hashOf(rs))
		}
	}
	// The annotation is what tells, while paused, that a change of replicas is still to be acted on: it
	// follows when that is done.
	if done && (d.resized(rs) || size != was && rs.Annotations[rollouts.DesiredReplicasAnnotation] != d.desired()) {
		notes[rollouts.DesiredReplicasAnnotation] = d.desired()
	}
	d.noteDeadline(rs, size, notes)
	if size != was {
		d.noteOutcome(rs, size > was, notes)
		if d.resized(rs) {
			d.event(false, eventScaled, "Scaled ReplicaSet %q from %d to %d for %s", rs.Name, was, size, plural(int(replicas(d.rollout)), "replica"))
		}
	}
	template := d.putMetadata(rs, notes)
	if size == was && len(notes) == 0 && template == nil && rs.Spec.MinReadySeconds == d.rollout.Spec.MinReadySeconds {
		return
	}
	d.out.Scale = append(d.out.Scale, ReplicaSetChange{
		ReplicaSetRef: refTo(rs), Replicas: size, MinReadySeconds: d.rollout.Spec.MinReadySeconds, Annotations: notes,
		Template: template,
	})
}

// changeOlder brings a ReplicaSet that is neither to a size. Its pods, while it has any, are told that they play no
// role any more.
func (d *decider) changeOlder(rs *appsv1.ReplicaSet, size int32) {
	was, notes := poolOf(rs), map[string]string{}
	var template *MetadataChange
	if was.occupies() > 0 {
		template = d.putMetadata(rs, notes)
	}
	if size != was.size || template != nil || len(notes) > 0 {
		d.out.Scale = append(d.out.Scale, ReplicaSetChange{
			ReplicaSetRef: refTo(rs), Replicas: size, MinReadySeconds: rs.Spec.MinReadySeconds, Annotations: notes, Template: template,
		})
	}
}

// noteOutcome adds what became of the revision of a ReplicaSet that is scaled anyway: a stable revision is,
// before another takes its place.
func (d *decider) noteOutcome(rs *appsv1.ReplicaSet, up bool, notes map[string]string) {
	st := &d.rollout.Status
	was := rs.Annotations[rollouts.OutcomeAnnotation]
	set := func(outcome, at string, a *rollouts.RolloutAction) {
		if was == outcome {
			return
		}
		notes[rollouts.OutcomeAnnotation], notes[rollouts.OutcomeTimeAnnotation] = outcome, at
		by := ptr.Deref(a, rollouts.RolloutAction{})
		for name, value := range map[string]string{rollouts.OutcomeUserAnnotation: by.User, rollouts.OutcomeReasonAnnotation: by.Reason} {
			if rs.Annotations[name] != value {
				notes[name] = value
			}
		}
	}
	switch {
	case hashOf(rs) == st.StableRS:
		set(rollouts.OutcomePromoted, d.completedAt(), newestActionOn(st, "promote", revisionOf(rs)))
	case st.Abort && st.AbortedAt != nil:
		set(rollouts.OutcomeAborted, st.AbortedAt.UTC().Format(time.RFC3339Nano), newestActionOn(st, "abort", st.Revision))
	case up && was == rollouts.OutcomeAborted:
		set("", "", nil)
	}
}

// completedAt is when the stable revision became that; empty once an update has begun, which ends the
// condition that tells.
func (d *decider) completedAt() string {
	c := findCondition(d.stored, rollouts.RolloutCompleted)
	if c == nil || c.Status != truth(true) {
		return ""
	}
	return c.LastTransitionTime.UTC().Format(time.RFC3339)
}

func refTo(rs *appsv1.ReplicaSet) ReplicaSetRef {
	return ReplicaSetRef{Name: rs.Name, UID: rs.UID, ResourceVersion: rs.ResourceVersion}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
