// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/cmd/server"
	"sluice.dev/sluice/test/reliability"
)

// wall is a clock that can be set, as that of a machine can: what time it is changes, and how much time has passed since
// something was seen does not. Package time keeps both in a time.Time, the former in whole seconds above 30 bits of
// nanoseconds.
type wall struct {
	clock.RealClock
	// ahead is by how much it differs from the machine's. Unit: seconds.
	ahead atomic.Int64
}

// Now is the time by this clock.
func (w *wall) Now() time.Time {
	now := time.Now()
	*(*uint64)(unsafe.Pointer(&now)) += uint64(w.ahead.Load()) << 30
	return now
}

// Since is how long ago something was seen, or is said to have been.
func (w *wall) Since(t time.Time) time.Duration { return w.Now().Sub(t) }

// set sets the clock forward or back.
func (w *wall) set(by time.Duration) { w.ahead.Add(int64(by / time.Second)) }

// The clock of these tests is set as the clocks of machines are, or they would show nothing.
func TestWallIsAClockThatWasSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		w := &wall{}
		before := w.Now()
		w.set(by)
		if said := w.Now().Round(0).Sub(before.Round(0)).Round(time.Minute); said != by {
			t.Errorf("by %v, it says that %v have passed", by, said)
		}
		if passed := w.Since(before); passed < 0 || passed > time.Minute {
			t.Errorf("by %v, %v have passed", by, passed)
		}
	}
}

// The clock is set by an hour in the middle of updates, to and fro. Pauses with a duration end, when the clock was set
// back after at most their own time from then on, and what waits for people waits.
func TestTheClockJumps(t *testing.T) {
	w := &wall{}
	s := start(t, newNamespace(t), t.TempDir(), func(o *server.Options) { o.Clock = w })
	const length = 3 * time.Second
	f := newFleet(t, s, "clock", func(r *v1alpha1.Rollout) {
		for i := range r.Spec.Strategy.Canary.Steps {
			if pause := r.Spec.Strategy.Canary.Steps[i].Pause; pause != nil && pause.Duration != nil {
				*pause.Duration = intstr.FromString(length.String())
			}
		}
	})
	defer f.stopObserving(t)
	forward, back := reliability.Row{Fault: reliability.ClockForward, Times: reliability.Times()}, reliability.Row{Fault: reliability.ClockBack, Times: reliability.Times()}
	for range reliability.Times() {
		f.jump(t, func() { w.set(time.Hour) })
		forward.Add(f.settle(t))
		begun := time.Now()
		f.jump(t, func() { w.set(-time.Hour) })
		back.Add(f.settle(t))
		// There are two pauses, which the clock has not shortened.
		if took := time.Since(begun); took < 2*length {
			t.Errorf("an update with two pauses of %v has ended after %v", length, took)
		}
	}
	reliability.Record(t, forward)
	reliability.Record(t, back)
}

// jump begins an update, and sets the clock while a Rollout is in a pause with a duration.
func (f *fleet) jump(t *testing.T, set func()) {
	t.Helper()
	f.update(t)
	f.await(t, f.moving[0], "in a pause", func(r *v1alpha1.Rollout) bool {
		return atFirstPause(r) && r.Status.Phase == v1alpha1.RolloutPhasePaused
	})
	set()
}
