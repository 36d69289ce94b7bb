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
		lasting time.Duration
		begin   func()
		// long is true for what says little in the few seconds that there are without -faults.long.
		long bool
	}{
		{fault: reliability.HostCloses, lasting: time.Minute, begin: way.closeConnections, long: true},
		{fault: reliability.HostHangs, lasting: time.Minute, begin: way.hang, long: true},
		{fault: reliability.HostSlow, lasting: 30 * time.Second, begin: func() { way.put(slow(500 * time.Millisecond)) }, long: true},
		{fault: reliability.HostRefuses429, lasting: reliability.Lasting(2*time.Second, 20*time.Second), begin: func() {
			way.put(refuseWrites(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests))
		}},
		{fault: reliability.HostRefuses500, lasting: reliability.Lasting(2*time.Second, 20*time.Second), begin: func() {
			way.put(refuseWrites(http.StatusInternalServerError, metav1.StatusReasonInternalError))
		}},
		{fault: reliability.WatchesEnd, lasting: reliability.Lasting(2*time.Second, 20*time.Second), begin: func() { way.endWatchesUntilLifted(t) }},
		{fault: reliability.WatchesCompacted, lasting: reliability.Lasting(2*time.Second, 20*time.Second), begin: func() {
			way.put(refuseOldWatches())
			if way.endWatches() == 0 {
				t.Error("there was no watch to end")
			}
		}},
	} {
		if c.long && !reliability.Long() {
			continue
		}
		t.Run(c.fault, func(t *testing.T) {
			row := reliability.Row{Fault: c.fault, Times: reliability.Times(), Lasting: c.lasting}
			for range row.Times {
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
