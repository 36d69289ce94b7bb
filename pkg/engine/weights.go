// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 2.1 (which weight applies) and 2.3 (pods for a weight).

// fullWeight is the weight at which every pod runs the current revision. Unit: percent.
const fullWeight int32 = 100

// SetWeight is the share of pods that should run the current revision now. Unit: percent, 0 to 100.
// It is the weight of the last setWeight step at or before the current one, and 0 if there is none; 100
// where no steps apply; 0 after an abort.
func SetWeight(r *rollouts.Rollout) int32 {
	if blueGreen(r) != nil {
		return blueGreenWeight(r)
	}
	switch {
	case r.Status.PromoteFull || !updateInFlight(r):
		return fullWeight
	case r.Status.Abort:
		return 0
	case stepsDone(r):
		return fullWeight
	}
	list := steps(r)
	for i := stepIndex(r); i >= 0; i-- {
		if w := list[i].SetWeight; w != nil {
			return *w
		}
	}
	return 0
}

// split is a number of pods for each side of an update.
type split struct {
	canary, stable int32
}

// blueGreenWeight is the share of clients that are led to the current revision: all of them, or none.
func blueGreenWeight(r *rollouts.Rollout) int32 {
	if st := &r.Status; st.BlueGreen != nil && st.BlueGreen.ActiveSelector == st.CurrentPodHash {
		return fullWeight
	}
	return 0
}

// splitFor is where the pods of n replicas settle at a weight: the whole pods whose share comes nearest
// to it. With surge there may be one pod more than n, if that comes nearer; how large surge is matters
// for speed only. Unless the weight is 0 or 100 each side keeps at least one pod, as far as there are two
// pods to share.
func splitFor(n, weight, surge int32) split {
	if n == 0 {
		return split{}
	}
	up := ceilDiv(int64(n)*int64(weight), int64(fullWeight))
	down := int32(int64(n) * int64(weight) / int64(fullWeight))
	zeroAllowed := weight == 0 || weight == fullWeight || n == 1 && surge == 0

	best, found := share{}, false
	offer := func(canary, total int32) {
		if s := (share{canary, total}); !found || s.nearer(best, weight) {
			best, found = s, true
		}
	}
	if up < n || zeroAllowed {
		offer(up, n)
	}
	if !isHalf(n, weight) && (down != 0 || zeroAllowed) {
		offer(down, n)
	}
	if surge > 0 {
		offer(up, n+1)
		if !isHalf(n+1, weight) && (down != 0 || zeroAllowed) {
			offer(down, n+1)
		}
	}
	if !found {
		// The exact half that rounds up to all pods, as 75 % of 2 without surge: the stable side keeps one.
		offer(down, n)
	}
	return split{canary: best.canary, stable: best.total - best.canary}
}

// share is canary pods out of total pods.
type share struct {
	canary, total int32
}

// nearer is true if s comes strictly nearer to the weight than o. Integers only: a tie is exact.
func (s share) nearer(o share, weight int32) bool {
	return s.distance(weight)*int64(o.total) < o.distance(weight)*int64(s.total)
}

// distance is how far the share is from the weight, times 100 and times total.
func (s share) distance(weight int32) int64 {
	d := int64(s.canary)*int64(fullWeight) - int64(weight)*int64(s.total)
	if d < 0 {
		return -d
	}
	return d
}

// isHalf is true if weight percent of n is a whole number of pods and exactly one half.
func isHalf(n, weight int32) bool {
	return int64(n)*int64(weight)%int64(fullWeight) == int64(fullWeight)/2
}

func ceilDiv(a, b int64) int32 {
	return int32((a + b - 1) / b)
}
