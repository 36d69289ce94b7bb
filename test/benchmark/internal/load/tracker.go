// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// tracker knows, by a watch, the state of each workload of one namespace.
type tracker struct {
	kind    Kind
	changed chan struct{}

	mu     sync.Mutex
	states map[string]state
}

// track watches until ctx is done. It returns once the watch stands.
func track(ctx context.Context, kind Kind, namespace string) (*tracker, error) {
	t := &tracker{kind: kind, changed: make(chan struct{}, 1), states: map[string]state{}}
	informer := kind.informer(namespace)
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    t.see,
		UpdateFunc: func(_, object any) { t.see(object) },
	})
	if err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil, fmt.Errorf("watching %s: %w", kind.Resource, ctx.Err())
	}
	return t, nil
}

func (t *tracker) see(object any) {
	s := t.kind.state(object)
	t.mu.Lock()
	t.states[s.name] = s
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default: // A waiter that has not looked yet will see this too.
	}
}

// waitAll waits until that many workloads satisfy the condition, and returns when that was seen.
func (t *tracker) waitAll(ctx context.Context, count int, condition func(state) bool) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		satisfied := t.count(condition)
		if satisfied >= count {
			return time.Now(), nil
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("only %d of %d %s got where they should: %w", satisfied, count, t.kind.Resource, ctx.Err())
		}
	}
}

func (t *tracker) count(condition func(state) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.states {
		if condition(s) {
			n++
		}
	}
	return n
}

// complete is the condition that an update to the image has been carried through.
func complete(image string) func(state) bool {
	return func(s state) bool { return s.image == image && s.observed && s.done }
}

// pausedAt is the condition that an update to the image waits at a step.
func pausedAt(image string, step int32) func(state) bool {
	return func(s state) bool { return s.image == image && s.observed && s.step == step }
}
