// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/reliability"
)

const (
	// floodRate is how many events a second there are in the flood that the document tells of, as long as the machine can
	// take them. With the race detector, on one that does other things besides, fewer are a flood, too.
	floodRate, briefFloodRate = 10_000, 500
	// floodShare is how much of the flood that the document tells of has to be taken.
	floodShare = 0.9
	// floodMemory is by how much the memory of the process may grow in a flood: events that nobody keeps up with wait
	// there, and those of half a minute are more than 600 MiB. Unit: bytes.
	floodMemory = 256 << 20
	// actTime is how long it may take in a flood until a change of a Rollout is one of the host.
	actTime = 10 * time.Second
)

// The host tells of its pods without a break, and each of these events is a reason to look at a Rollout. Changes are
// acted on all the same, and what waits to be looked at does not pile up.
func TestAFloodOfEvents(t *testing.T) {
	way := newFaultyHost(t)
	s := start(t, newNamespace(t), t.TempDir(), way.leadTo)
	f := newFleet(t, s, "flood", func(r *v1alpha1.Rollout) {
		// With these, every change of a pod is looked at.
		canary := r.Spec.Strategy.Canary
		canary.StableMetadata = &v1alpha1.PodTemplateMetadata{Labels: map[string]string{"example.com/role": "stable"}}
		canary.CanaryMetadata = &v1alpha1.PodTemplateMetadata{Labels: map[string]string{"example.com/role": "canary"}}
	})
	defer f.stopObserving(t)
	row := reliability.Row{Fault: reliability.Flood, Times: reliability.Times(), Lasting: reliability.Lasting(5*time.Second, 30*time.Second)}
	rate := briefFloodRate
	if reliability.Long() {
		rate = floodRate
	}
	for range row.Times {
		before, spent := memory(), processorTime(t)
		now := way.flood(t, rate)
		acted := f.acting(t)
		f.update(t)
		most := mostMemory(row.Lasting)
		sent, took := now.sent.Load(), time.Since(now.begun)
		way.lift()
		spent = processorTime(t) - spent
		if sent == 0 {
			t.Error("no event was taken")
		}
		if due := floodShare * floodRate * took.Seconds(); reliability.Long() && float64(sent) < due {
			t.Errorf("%d events were taken in %v, want at least %.0f", sent, took, due)
		}
		if most > before+floodMemory {
			t.Errorf("%d MiB of memory were in use, and %d before", most>>20, before>>20)
		}
		row.Add(f.settle(t))
		t.Logf("%d events of pods in %v, with %v of processor time; a change was acted on within %v; %d MiB of memory in use before, %d at most",
			sent, took, spent, <-acted, before>>20, most>>20)
	}
	reliability.Record(t, row)
}

// memory is what the process has in use, garbage set aside. Unit: bytes.
func memory() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// processorTime is what this process has spent, the host that floods it included.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// mostMemory returns after so long, with the most memory that was in use meanwhile. Unit: bytes.
func mostMemory(lasting time.Duration) (most uint64) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for begun := time.Now(); ; <-ticker.C {
		if most = max(most, memory()); time.Since(begun) > lasting {
			return most
		}
	}
}

// acting watches how long it takes until the next update of the Rollout that waits is one of the host. It fails the test
// if that is too long.
func (f *fleet) acting(t *testing.T) <-chan time.Duration {
	t.Helper()
	taken, next, begun := make(chan time.Duration, 1), fmt.Sprint("app:", f.updates+1), time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), actTime)
	go func() {
		defer cancel()
		_, err := cluster.Await(ctx, host.ReplicaSets(metav1.NamespaceDefault, "app="+f.waiting), func(sets []*appsv1.ReplicaSet) string {
			for _, set := range sets {
				if set.Spec.Template.Spec.Containers[0].Image == next {
					return ""
				}
			}
			return "none has " + next
		})
		if err != nil {
			t.Errorf("a change was not acted on within %v: %v", actTime, err)
		}
		taken <- time.Since(begun)
	}()
	return taken
}
