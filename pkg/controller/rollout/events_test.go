// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/engine"
)

// sunk collects events.
type sunk struct {
	record.EventRecorder
	mu     sync.Mutex
	events []string
}

// Event takes an event in.
func (s *sunk) Event(object runtime.Object, kind, reason, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf("%s %s %s %s", object.(*corev1.ObjectReference).Name, kind, reason, message))
}

func (s *sunk) has(want ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Equal(s.events, want)
}

func TestEventsAreGathered(t *testing.T) {
	fakeClock := clocktesting.NewFakeClock(time.Now())
	r := newRecorder(t.Context(), newWorld(t).host, fakeClock)
	sink := &sunk{}
	r.sink = sink
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	demo, other := testRollout("demo"), testRollout("other")
	step := func(n int) engine.Event {
		return engine.Event{Reason: "RolloutStepCompleted", Message: fmt.Sprintf("step %d", n)}
	}
	sleepWindow := func() {
		eventually(t, "the recorder waits", fakeClock.HasWaiters)
		fakeClock.Step(eventWindow)
	}

	// The first of its kind is written at once, and each kind and Rollout counts on its own.
	r.record(demo, step(1))
	r.record(demo, engine.Event{Warning: true, Reason: "RolloutAborted", Message: "why"})
	r.record(other, step(1))
	first := []string{"demo Normal RolloutStepCompleted step 1", "demo Warning RolloutAborted why", "other Normal RolloutStepCompleted step 1"}
	if !sink.has(first...) {
		t.Fatalf("got %q, want %q", sink.events, first)
	}
	// What follows is one event, when the window ends.
	r.record(demo, step(2))
	r.record(demo, step(3))
	r.record(demo, step(4))
	r.record(demo, engine.Event{Warning: true, Reason: "RolloutAborted", Message: "why"})
	if !sink.has(first...) {
		t.Fatalf("not gathered: %q", sink.events)
	}
	sleepWindow()
	second := append(first, "demo Normal RolloutStepCompleted step 4 (and 2 more of this kind in 30s)")
	eventually(t, "the rest is one event", func() bool { return sink.has(second...) })
	// In the end nothing is remembered.
	sleepWindow()
	eventually(t, "all kinds are forgotten", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.kinds) == 0
	})
	r.record(demo, step(5))
	if !sink.has(append(second, "demo Normal RolloutStepCompleted step 5")...) {
		t.Errorf("a late one is not written at once: %q", sink.events)
	}
}

func TestEventsNameTheRolloutInTheHost(t *testing.T) {
	w := newWorld(t)
	w.addRollout("demo")
	var once sync.Once
	w.start(func(engine.Snapshot) (d engine.Decision) {
		once.Do(func() {
			d.Events = []engine.Event{{Reason: "RolloutUpdated", Message: "Rollout updated to revision 2."}}
		})
		return d
	})
	eventually(t, "the event is in the host", func() bool { return len(w.events(t)) == 1 })
	for _, action := range w.host.Actions() {
		if create, ok := action.(interface{ GetObject() runtime.Object }); ok {
			if e, ok := create.GetObject().(*corev1.Event); ok {
				about := e.InvolvedObject
				if about.Kind != "Rollout" || about.APIVersion != "sluice.dev/v1alpha1" || about.UID != "uid-of-demo" || e.Namespace != testNamespace || !strings.HasPrefix(e.Message, "Rollout updated") {
					t.Errorf("unexpected event %v", e)
				}
			}
		}
	}
}
