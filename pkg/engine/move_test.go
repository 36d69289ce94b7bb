// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestMove is the unit-test table of reference section 2.5, every row of it.
func TestMove(t *testing.T) {
	for _, row := range []struct {
		intent                 string
		n, weight              int32
		surge, unavailable     string
		stable, canary, older  string // "spec/available"
		wantCanary, wantStable int32
	}{
		{"stable available beyond spec is not counted", 10, 100, "3", "0", "7/8", "6/3", "", 6, 7},
		{"surge int scales canary up", 10, 20, "2", "0", "10/10", "0/0", "", 2, 10},
		{"surge % scales canary up", 10, 20, "20%", "0", "10/10", "0/0", "", 2, 10},
		{"extra stable removed", 10, 20, "20%", "0", "10/10", "2/2", "", 2, 8},
		{"never beyond surge", 10, 30, "2", "0", "10/10", "0/0", "", 2, 10},
		{"unavailable int frees room first", 10, 20, "0", "2", "10/10", "0/0", "", 0, 8},
		{"unavailable % frees room first", 10, 20, "0", "20%", "10/10", "0/0", "", 0, 8},
		{"never beyond unavailable", 10, 30, "0", "2", "10/10", "0/0", "", 0, 8},
		{"both at once", 10, 50, "2", "1", "10/10", "0/0", "", 2, 9},
		{"canary to zero", 10, 0, "1", "1", "10/10", "1/1", "", 0, 10},
		{"stable to zero", 10, 100, "1", "1", "1/1", "10/10", "", 10, 0},
		{"non-zero weight gives one canary", 1, 20, "1", "0", "1/1", "0/0", "", 1, 1},
		{"non-zero weight gives one canary", 1, 90, "1", "0", "1/1", "0/0", "", 1, 1},
		{"below 50 without surge", 1, 49, "0", "1", "1/1", "0/0", "", 0, 1},
		{"50 and more: stable goes first", 1, 51, "0", "1", "1/1", "0/0", "", 0, 0},
		{"then canary", 1, 51, "0", "1", "0/0", "0/0", "", 1, 0},
		{"stable before canary", 10, 30, "1", "0", "1/1", "0/0", "3/3", 1, 7},
		{"both sides trimmed", 10, 30, "0", "3", "8/5", "4/4", "", 3, 7},
		{"unavailable canary trimmed", 10, 100, "1", "0", "10/2", "10/8", "", 9, 2},
		{"older ReplicaSets drain first", 10, 30, "0", "1", "8/6", "4/2", "3/3", 4, 8},
		{"5 % of 10: stable first", 10, 5, "0", "1", "10/10", "0/0", "", 0, 9},
		{"5 % of 10: then canary", 10, 5, "0", "1", "9/9", "0/0", "", 1, 9},
		{"both zero: one may be unavailable", 10, 10, "0%", "0%", "10/10", "0/0", "", 0, 9},
		{"20 % with surge", 10, 20, "20%", "0", "10/10", "0/0", "", 2, 10},
		{"surge respected though stable unhealthy", 4, 100, "1", "0", "4/1", "0/0", "", 1, 4},
		{"stable drained to its share", 3, 99, "0", "2", "3/3", "0/0", "", 0, 1},
		{"canary filled to its share", 3, 99, "0", "2", "1/1", "0/0", "", 2, 1},
		{"unhealthy stable drained by one", 4, 100, "1", "0", "4/1", "1/1", "", 1, 3},
		{"abort part 1: grow stable first", 4, 0, "1", "0", "0/0", "4/4", "", 4, 1},
		{"abort part 2: wait", 4, 0, "1", "0", "1/0", "4/4", "", 4, 1},
		{"abort part 3: shrink canary by one", 4, 0, "1", "0", "1/1", "4/4", "", 3, 1},
		{"promoteFull ignores the weight", 4, 100, "4", "4", "4/4", "0/0", "", 4, 0},
		{"promoteFull honours the fenceposts", 4, 100, "3", "0", "4/4", "0/0", "", 3, 4},
	} {
		t.Run(row.intent, func(t *testing.T) {
			b := boardFor(row.n, row.weight, row.surge, row.unavailable)
			b.stable, b.canary = parsePool(row.stable), parsePool(row.canary)
			if row.older != "" {
				b.older = []pool{parsePool(row.older)}
			}
			if got, _ := b.move(); got != (split{row.wantCanary, row.wantStable}) {
				t.Errorf("got canary %d, stable %d; want %d, %d", got.canary, got.stable, row.wantCanary, row.wantStable)
			}
		})
	}
}

// TestMoveTraces are the convergence traces of reference section 2.5: every pod becomes available between
// two moves. Written canary/stable.
func TestMoveTraces(t *testing.T) {
	for _, row := range []struct {
		n                  int32
		surge, unavailable string
		weights            []int32
		trace              string
	}{
		{5, "25%", "25%", []int32{20, 40, 60, 80, 100}, "0/5 1/4 2/3 3/2 4/1 5/0"},
		{4, "1", "0", []int32{25}, "0/4 1/4 1/3"},
		{10, "2", "1", []int32{50}, "0/10 2/9 3/7 5/6 5/5"},
		{4, "0", "1", []int32{50}, "0/4 0/3 1/3 1/2 2/2"},
		{1, "0", "1", []int32{50}, "0/1 0/0 1/0"},
		{3, "2", "0", []int32{0}, "3/0 3/2 1/2 1/3 0/3"},
		{4, "100%", "0", []int32{100}, "0/4 4/4 4/0"},
	} {
		t.Run(row.trace, func(t *testing.T) {
			want := strings.Fields(row.trace)
			at := parseSplit(want[0])
			got := []string{want[0]}
			for _, weight := range row.weights {
				for range 20 {
					b := boardFor(row.n, weight, row.surge, row.unavailable)
					b.canary, b.stable = settledPool(at.canary), settledPool(at.stable)
					next, _ := b.move()
					if next == at {
						break
					}
					at = next
					got = append(got, fmt.Sprintf("%d/%d", at.canary, at.stable))
				}
			}
			if strings.Join(got, " ") != row.trace {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), row.trace)
			}
		})
	}
}

// TestFenceposts are the examples of reference section 2.2, and its rules.
func TestFenceposts(t *testing.T) {
	for _, row := range []struct {
		n                  int32
		surge, unavailable string
		wantSurge, wantUn  int32
	}{
		{1, "25%", "25%", 1, 0},
		{2, "25%", "25%", 1, 0},
		{3, "25%", "25%", 1, 0},
		{4, "25%", "25%", 1, 1},
		{5, "25%", "25%", 2, 1},
		{8, "25%", "25%", 2, 2},
		{10, "25%", "25%", 3, 2},
		{20, "25%", "25%", 5, 5},
		{10, "0%", "0%", 0, 1}, // both 0: unavailable is 1
		{3, "0", "10%", 0, 1},  // both round to 0: unavailable is 1
		{2, "1", "5", 1, 2},    // unavailable is capped at replicas
		{0, "25%", "25%", 0, 0},
		{0, "1", "1", 1, 0}, // with no replicas, none may be unavailable
	} {
		surge, unavailable := fenceposts(rolloutWith(row.n, row.surge, row.unavailable))
		if surge != row.wantSurge || unavailable != row.wantUn {
			t.Errorf("n=%d %s/%s: got %d,%d, want %d,%d", row.n, row.surge, row.unavailable, surge, unavailable, row.wantSurge, row.wantUn)
		}
	}
}

func rolloutWith(n int32, surge, unavailable string) *rollouts.Rollout {
	return &rollouts.Rollout{Spec: rollouts.RolloutSpec{
		Replicas: ptr.To(n),
		Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
			MaxSurge: ptr.To(intstr.Parse(surge)), MaxUnavailable: ptr.To(intstr.Parse(unavailable)),
		}},
	}}
}

func boardFor(n, weight int32, surge, unavailable string) board {
	s, u := fenceposts(rolloutWith(n, surge, unavailable))
	return board{n: n, surge: s, unavailable: u, goal: splitFor(n, weight, s)}
}

// parsePool reads "spec/available": as many pods exist as are wanted, and only the available are ready.
func parsePool(s string) pool {
	var size, available int32
	if _, err := fmt.Sscanf(s, "%d/%d", &size, &available); err != nil {
		panic(err)
	}
	available = min(available, size)
	return pool{size: size, pods: size, ready: available, available: available, observed: true}
}

func parseSplit(s string) split {
	var at split
	if _, err := fmt.Sscanf(s, "%d/%d", &at.canary, &at.stable); err != nil {
		panic(err)
	}
	return at
}

func settledPool(size int32) pool {
	return pool{size: size, pods: size, ready: size, available: size, observed: true}
}

// TestMoveOlder is reference section 2.6, and what 2.5 says of older ReplicaSets. Written newest first.
func TestMoveOlder(t *testing.T) {
	for _, row := range []struct {
		rule               string
		n, weight          int32
		surge, unavailable string
		canary, stable     string
		older              []string
		want               string // canary/stable, then older
	}{
		{"unavailable pods go at once", 4, 25, "1", "0", "0/0", "3/3", []string{"2/0"}, "0/3 0"},
		{"down to the available ones", 4, 25, "1", "0", "0/0", "3/3", []string{"3/1"}, "0/3 1"},
		{"available ones as far as enough remain", 4, 25, "2", "1", "1/1", "3/3", []string{"2/2"}, "1/3 0"},
		{"not beyond that", 4, 25, "2", "0", "0/0", "3/3", []string{"2/2"}, "1/3 1"},
		{"newest revision first", 4, 25, "3", "0", "1/1", "3/3", []string{"1/1", "2/2"}, "1/3 0 0"},
		{"newest revision first, as far as it goes", 6, 25, "3", "0", "1/1", "3/3", []string{"1/1", "2/2"}, "1/5 0 2"},
		{"nothing else shrinks before they are gone", 4, 100, "1", "0", "4/4", "1/1", []string{"1/1"}, "4/1 0"},
		{"but if they cannot go, what is unavailable makes way", 4, 0, "1", "0", "1/0", "3/3", []string{"1/1"}, "0/3 1"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			b := boardFor(row.n, row.weight, row.surge, row.unavailable)
			b.canary, b.stable = parsePool(row.canary), parsePool(row.stable)
			for _, o := range row.older {
				b.older = append(b.older, parsePool(o))
			}
			next, older := b.move()
			got := fmt.Sprintf("%d/%d", next.canary, next.stable)
			for _, size := range older {
				got += fmt.Sprintf(" %d", size)
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// TestMoveOnUncertainGround is what keeps the bounds when a status does not tell everything: where these
// rows differ from the reference, it would break them.
func TestMoveOnUncertainGround(t *testing.T) {
	at := func(s string, change func(*pool)) pool {
		p := parsePool(s)
		if change != nil {
			change(&p)
		}
		return p
	}
	for _, row := range []struct {
		rule               string
		n, weight          int32
		surge, unavailable string
		canary, stable     pool
		want               string
	}{
		{"no move before the last one was taken up", 4, 100, "1", "0",
			at("1/1", func(p *pool) { p.observed = false }), at("4/4", nil), "1/4"},
		{"pods that are still there take room", 4, 100, "1", "0",
			at("1/1", nil), at("3/3", func(p *pool) { p.pods = 4 }), "1/3"},
		{"pods ready but not available may stay in the place of available ones", 5, 100, "3", "1",
			at("3/3", nil), at("5/3", func(p *pool) { p.ready = 5 }), "3/3"},
		{"unless none is available: then none can be lost", 5, 100, "3", "1",
			at("3/3", nil), at("5/0", func(p *pool) { p.ready = 5 }), "3/1"},
		{"what an older minReadySeconds calls available does not count", 4, 100, "1", "0",
			at("1/1", func(p *pool) { p.outdated = true }), at("4/4", nil), "1/4"},
		{"nor is a pod taken while nobody knows which are available", 1, 100, "1", "0",
			at("3/3", func(p *pool) { p.outdated = true }), at("0/0", nil), "3/0"},
		{"what is over the total stays while the one available pod may be in it", 1, 0, "1", "0",
			at("1/0", nil), at("6/1", func(p *pool) { p.ready = 6 }), "0/6"},
		{"an abort takes no stable pod that is wanted back, whatever the total", 2, 0, "1", "0",
			at("5/5", nil), at("2/0", nil), "2/2"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			b := boardFor(row.n, row.weight, row.surge, row.unavailable)
			b.canary, b.stable = row.canary, row.stable
			next, _ := b.move()
			if got := fmt.Sprintf("%d/%d", next.canary, next.stable); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// TestPoolOf: a status counts only if it speaks of the present size, and of the pods that this size leaves.
func TestPoolOf(t *testing.T) {
	for _, row := range []struct {
		rule                   string
		size, seen             int32
		pods, ready, available int32
		observed               bool
		wantReady, want        int32
	}{
		{"settled", 3, 2, 3, 2, 1, true, 2, 1},
		{"the size was not taken up", 3, 1, 3, 3, 3, false, 3, 3},
		{"pods about to go, all ready ones available", 3, 2, 5, 5, 5, true, 3, 3},
		{"pods about to go, those not ready first", 3, 2, 5, 3, 1, true, 3, 1},
		{"pods about to go, and nobody knows which of the ready ones", 3, 2, 5, 4, 2, false, 3, 2},
		{"pods about to go, none of them available", 3, 2, 5, 4, 0, true, 3, 0},
	} {
		t.Run(row.rule, func(t *testing.T) {
			rs := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: &row.size}, Status: appsv1.ReplicaSetStatus{
				ObservedGeneration: int64(row.seen), Replicas: row.pods, ReadyReplicas: row.ready, AvailableReplicas: row.available,
			}}
			rs.Generation = 2
			want := pool{size: row.size, pods: row.pods, ready: row.wantReady, available: row.want, observed: row.observed}
			if got := poolOf(rs); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
