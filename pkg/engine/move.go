// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 2.2 (fenceposts), 2.5 (one move) and 2.6 (older ReplicaSets). The letters
// n, C, S, O and T of the comments are those of 2.5.

// The defaults of the bounds of an update, for a Rollout that was stored without them.
var (
	defaultMaxSurge       = intstr.FromString("25%")
	defaultMaxUnavailable = intstr.FromString("25%")
)

// replicas is spec.replicas.
func replicas(r *rollouts.Rollout) int32 {
	return ptr.Deref(r.Spec.Replicas, 1)
}

// fenceposts are how many pods may exist above replicas, and how many of them may be unavailable. Surge
// rounds up, unavailable rounds down; both 0 would stand still, so that then one may be unavailable. With blueGreen
// there may be as many again, and only a restart makes any unavailable.
func fenceposts(r *rollouts.Rollout) (surge, unavailable int32) {
	if bg := blueGreen(r); bg != nil {
		return replicas(r), min(resolve(bg.MaxUnavailable, defaultMaxUnavailable, replicas(r), false), replicas(r))
	}
	canary := ptr.Deref(r.Spec.Strategy.Canary, rollouts.CanaryStrategy{})
	n := replicas(r)
	surge = resolve(canary.MaxSurge, defaultMaxSurge, n, true)
	unavailable = resolve(canary.MaxUnavailable, defaultMaxUnavailable, n, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, n)
}

// resolve is a number or percentage of n pods. A value that cannot be read, which validation lets
// through never, counts as the default.
func resolve(value *intstr.IntOrString, otherwise intstr.IntOrString, n int32, up bool) int32 {
	v, err := intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(value, otherwise)), int(n), up)
	if err != nil {
		v, _ = intstr.GetScaledValueFromIntOrPercent(&otherwise, int(n), up)
	}
	return int32(max(v, 0))
}

// pool is what a move must know of one ReplicaSet. Unit of all numbers: pods. The zero pool is a
// ReplicaSet that does not exist.
type pool struct {
	size      int32 // spec.replicas
	pods      int32 // status.replicas
	ready     int32 // status.readyReplicas, of those that size keeps
	available int32 // status.availableReplicas, of those that size keeps
	observed  bool  // status speaks of the present size
	outdated  bool  // what status calls available may not be, by the present minReadySeconds
	floor     int32 // the size that it is not cut below, for a Service that leads there
}

// poolOf reads a ReplicaSet; nil is the zero pool. More available pods than its size count as its size:
// the others are about to go.
func poolOf(rs *appsv1.ReplicaSet) pool {
	if rs == nil {
		return pool{observed: true}
	}
	size, st := ptr.Deref(rs.Spec.Replicas, 1), &rs.Status
	available := min(st.AvailableReplicas, size)
	// The ReplicaSet controller reports a new size before it has taken the pods that are too many. Which of the
	// ready ones will be left, the available ones or the others, shows only when they are gone.
	unsorted := st.Replicas > size && st.ReadyReplicas > size && st.ReadyReplicas > st.AvailableReplicas && available > 0
	return pool{
		size:      size,
		pods:      st.Replicas,
		ready:     max(min(st.ReadyReplicas, size), available),
		available: available,
		observed:  st.ObservedGeneration >= rs.Generation && !unsorted,
	}
}

// occupies is the room that the ReplicaSet takes below replicas + maxSurge: what it is told to have, or
// what it still has.
func (p pool) occupies() int32 {
	return max(p.size, p.pods)
}

// holds is how many available pods may be relied on when something else is taken away.
func (p pool) holds() int32 {
	if p.outdated {
		return 0
	}
	return p.available
}

// undecided is how many pods are ready but not yet available. When a ReplicaSet shrinks, pods that are
// not ready go first; these may stay in the place of available ones.
func (p pool) undecided() int32 {
	if p.available == 0 {
		return 0
	}
	return p.ready - p.available
}

// drainable is what the ReplicaSet counts for while it is being drained: its size, since its
// unavailable pods go first and cost nothing.
func (p pool) drainable() int32 {
	return p.size - p.undecided()
}

// keeps is how many available pods surely remain when the ReplicaSet is cut to size.
func (p pool) keeps(size int32) int32 {
	if size >= p.size {
		return p.available
	}
	return max(min(p.available, size-p.undecided()), 0)
}

// atLeast is size, or the present one if that is larger while nobody knows which pods are available.
func (p pool) atLeast(size int32) int32 {
	if p.outdated {
		return max(size, p.size)
	}
	return size
}

// free is the size to which the ReplicaSet can be cut without losing an available pod.
func (p pool) free() int32 {
	if p.available == 0 {
		return 0
	}
	return p.ready
}

// board is the position before a move.
type board struct {
	n, surge, unavailable int32
	goal                  split
	canary, stable        pool
	older                 []pool // newest revision first
	leaving               int32  // pods of ReplicaSets that are being deleted
}

func (b board) maxTotal() int32     { return b.n + b.surge }
func (b board) minAvailable() int32 { return b.n - b.unavailable }

// olderSize is O.
func (b board) olderSize() int32 {
	return sum(b.older, func(p pool) int32 { return p.size })
}

// observed is true if every ReplicaSet has taken up its last change of size.
func (b board) observed() bool {
	observed := b.canary.observed && b.stable.observed
	for _, o := range b.older {
		observed = observed && o.observed
	}
	return observed
}

// room is how many pods may be added now.
func (b board) room() int32 {
	room := b.maxTotal() - b.canary.occupies() - b.stable.occupies() - b.leaving - sum(b.older, pool.occupies)
	return max(room, 0)
}

// move is the next sizes: as far towards the goal as the bounds allow with the pods that are available
// now. Every change of it is within the bounds alone, so that it does not matter which are written. No
// move is made before all of the last one was taken up: until then nobody knows how many pods there are.
func (b board) move() (next split, older []int32) {
	next = split{canary: b.canary.size, stable: b.stable.size}
	if !b.observed() {
		return next, sizes(b.older)
	}
	older, stuck := b.drainOlder()

	// 2.5.3-4: raise stable first, then canary, as room allows.
	room := b.room()
	if b.stable.size < b.goal.stable {
		raise := min(room, b.goal.stable-b.stable.size)
		next.stable += raise
		room -= raise
	}
	if b.canary.size < b.goal.canary {
		next.canary += min(room, b.goal.canary-b.canary.size)
	}

	// 2.5.5: older ReplicaSets go first, unless they cannot: then what is unavailable makes way, since
	// otherwise neither would ever move.
	if b.olderSize() > 0 && !(stuck && next == split{b.canary.size, b.stable.size}) {
		return next, older
	}
	next = b.shrink(next)
	return split{canary: b.canary.atLeast(next.canary), stable: b.stable.atLeast(next.stable)}, older
}

// shrink takes pods from the side that is above its goal (2.5.6-10). With no canary pod wanted, as after an
// abort, it never takes a stable pod that would be wanted back.
func (b board) shrink(next split) split {
	kept := min(next.stable, b.goal.stable)
	// Only the side being grown must be available; of the side being drained unavailable pods go first.
	spare := sum(b.older, pool.holds) - b.minAvailable()
	if b.goal.canary >= b.canary.size {
		if excess := b.canary.holds() + b.stable.drainable() + spare; excess > 0 {
			next.stable = shrinkTo(next.stable, max(b.goal.stable, b.stable.floor), excess)
			next.stable, next.canary = b.trim(b.stable, b.canary, next.stable, next.canary)
		}
	} else if excess := b.canary.drainable() + b.stable.holds() + spare; excess > 0 {
		next.canary = shrinkTo(next.canary, max(b.goal.canary, b.canary.floor), excess)
		next.canary, next.stable = b.trim(b.canary, b.stable, next.canary, next.stable)
	}
	if b.goal.canary == 0 {
		next.stable = max(next.stable, kept)
	}
	return next
}

// shrinkTo lowers size towards goal, by at most the given number of pods. Below goal it stays.
func shrinkTo(size, goal, by int32) int32 {
	if size <= goal {
		return size
	}
	return max(goal, size-by)
}

// trim brings the planned sizes of the two sides within replicas + maxSurge (2.5.10): at the cost of the
// side being grown, except for its available pods if they are needed, then of the side being drained.
func (b board) trim(drain, grow pool, drainSize, growSize int32) (int32, int32) {
	excess := drainSize + growSize + b.olderSize() - b.maxTotal()
	if excess <= 0 {
		return drainSize, growSize
	}
	floor := b.minAvailable() - sum(b.older, pool.holds)
	cut := min(excess, max(growSize-grow.floor, 0))
	if drain.keeps(drainSize)+grow.keeps(growSize-cut) < floor {
		cut = min(cut, max(growSize-grow.available-grow.undecided(), 0))
	}
	rest := min(excess-cut, max(drainSize-drain.floor, 0))
	for rest > 0 && drain.keeps(drainSize-rest) < drain.keeps(drainSize) && drain.keeps(drainSize-rest)+grow.keeps(growSize-cut) < floor {
		rest--
	}
	return drainSize - rest, growSize - cut
}

// drainOlder is the next sizes of the ReplicaSets that are neither current nor stable (2.6): pods that
// are not available go at once, available ones newest revision first, as far as enough remain. stuck
// is true if none can be drained further for now.
func (b board) drainOlder() (sizes []int32, stuck bool) {
	sizes = make([]int32, len(b.older))
	budget := b.canary.holds() + b.stable.holds() - b.minAvailable()
	stuck = true
	for i, o := range b.older {
		sizes[i] = min(o.size, max(o.free(), o.floor))
		budget += o.keeps(sizes[i])
	}
	for i, o := range b.older {
		take := min(max(sizes[i]-o.floor, 0), max(budget, 0))
		sizes[i] -= take
		budget -= take
		stuck = stuck && sizes[i] == o.size
	}
	return sizes, stuck
}

// fits is true if as many pods are planned as there should be in an update.
func (b board) fits(next split, older []int32) bool {
	total := next.canary + next.stable
	for _, size := range older {
		total += size
	}
	return total >= b.n && total <= b.maxTotal()
}

func sum(pools []pool, of func(pool) int32) int32 {
	var total int32
	for _, p := range pools {
		total += of(p)
	}
	return total
}
