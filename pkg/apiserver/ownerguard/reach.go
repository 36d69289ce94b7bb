// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// probeInterval is how often the store is read to see that it can be, and probeTimeout how long that may take.
	probeInterval, probeTimeout = 250 * time.Millisecond, time.Second
	// lostAfter is for how long it may not answer. It is longer than an election of a leader among its members
	// takes: meanwhile requests wait, which is better than to be sent away.
	lostAfter = 3 * time.Second
)

// reach knows whether the store answers reads that need a quorum of its members. Without one everything that could be
// answered is what this server remembers, which may lack what others have written since.
type reach struct {
	mu sync.Mutex
	// back is closed when the store answers again; nil while it does.
	back chan struct{}
}

// watch probes until ctx ends, and calls lost again and again while the store does not answer.
func (r *reach) watch(ctx context.Context, probe func(context.Context) error, lost func(message string)) {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, probeTimeout)
		err := probe(bounded)
		cancel()
		if err == nil || errors.Is(err, ErrStoreReplaced) {
			last = time.Now()
			r.answers(true)
			continue
		}
		if ctx.Err() == nil && time.Since(last) >= lostAfter {
			r.answers(false)
			lost(fmt.Sprintf("the store does not answer, as when too few members of its cluster are up, or none of them leads (%v); it is tried again all the time", err))
		}
	}
}

func (r *reach) answers(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes == (r.back == nil) {
		return
	}
	if yes {
		klog.InfoS("The store answers again")
		close(r.back)
		r.back = nil
		return
	}
	klog.InfoS("The store does not answer: neither does this server")
	r.back = make(chan struct{})
}

// wait returns when the store answers, or ctx is done.
func (r *reach) wait(ctx context.Context) {
	r.mu.Lock()
	back := r.back
	r.mu.Unlock()
	if back == nil {
		return
	}
	select {
	case <-back:
	case <-ctx.Done():
	}
}
