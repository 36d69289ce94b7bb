// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/reliability"
)

// The host fails in every way that a network or an API server in trouble does, again and again, in the middle of
// updates. Nothing goes out of its bounds while it does, and everything comes to its end when it is over.
func TestFaultsOfTheHost(t *testing.T) {
	way := newFaultyHost(t)
	s := start(t, newNamespace(t), t.TempDir(), way.leadTo)
	f := newFleet(t, s, "host")
	defer f.stopObserving(t)
	for _, c := range []struct {
		fault   string
		times   int
		lasting time.Duration
		begin   func()
	}{
		{reliability.HostCloses, 2, reliability.Lasting(4*time.Second, time.Minute), way.closeConnections},
		{reliability.HostHangs, 2, reliability.Lasting(4*time.Second, time.Minute), way.hang},
		{reliability.HostSlow, 2, reliability.Lasting(6*time.Second, time.Minute), func() { way.put(slow(500 * time.Millisecond)) }},
		{reliability.HostRefuses429, 2, reliability.Lasting(4*time.Second, time.Minute), func() {
			way.put(refuseWrites(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests))
		}},
		{reliability.HostRefuses500, 2, reliability.Lasting(4*time.Second, time.Minute), func() {
			way.put(refuseWrites(http.StatusInternalServerError, metav1.StatusReasonInternalError))
		}},
		{reliability.WatchesEnd, 2, reliability.Lasting(3*time.Second, 30*time.Second), func() { way.endWatchesUntilLifted(t) }},
		{reliability.WatchesCompacted, 2, reliability.Lasting(3*time.Second, 30*time.Second), func() {
			way.put(refuseOldWatches())
			if way.endWatches() == 0 {
				t.Error("there was no watch to end")
			}
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			row := reliability.Row{Fault: c.fault, Times: c.times, Lasting: c.lasting}
			for range c.times {
				f.update(t)
				c.begin()
				time.Sleep(c.lasting)
				if met := way.lift(); met == 0 {
					t.Error("nobody met the fault")
				}
				row.Add(f.settle(t))
			}
			reliability.Record(t, row)
		})
	}
}
