// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/engine"
)

const (
	// noteDelay is how long a noted revision may wait, so that many share one write to the host.
	noteDelay = time.Second
	// raiseTimeout is how long one raise of both records may take.
	raiseTimeout = 10 * time.Second
)

// errNotOpen is returned while the gate is closed: nobody may act upon the store then.
var errNotOpen = errors.New("the store may not be acted upon: the owner guard is closed")

// Mirror keeps the two records, in the store and in the host, as high as they have to be.
//
// What is guaranteed: once Ensure(revision) has returned nil, every copy of the store that lacks a
// write up to that revision is recognised at the next start, because its own record is lower than the
// one in the host. So whoever calls Ensure with the resourceVersion of a Rollout before creating a
// ReplicaSet for it can be sure that no store answers which does not know the owner of that
// ReplicaSet, or does not know its revision. Note promises the same within about a second and costs
// its caller nothing: it is for the writes that only move a Rollout along (a step, a scale, a
// deletion). A copy taken in that last second before a crash, and put back afterwards, may repeat a
// step; it cannot lose an owner or a revision.
//
// In a steady state there is nothing to raise, and nothing is written.
type Mirror struct {
	store *Store
	host  *Host
	gate  *Gate

	// mirrored is the revision that both records are known to vouch for.
	mirrored atomic.Uint64

	mu       sync.Mutex
	identity string
	// seen is the ConfigMap as it was last written or read by the one raise that is under way.
	seen    *corev1.ConfigMap
	flying  bool
	pending *flight

	noted     atomic.Uint64
	noteAwake chan struct{}
}

// flight is one raise of the records, shared by everybody who waits for it.
type flight struct {
	revision uint64
	done     chan struct{}
	err      error
}

func newMirror(store *Store, host *Host, gate *Gate) *Mirror {
	return &Mirror{store: store, host: host, gate: gate, noteAwake: make(chan struct{}, 1)}
}

// adopt makes the mirror one of the store that was judged to be the right one.
func (m *Mirror) adopt(r engine.StoreRecord, seen *corev1.ConfigMap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identity, m.seen = r.Identity, seen
	m.mirrored.Store(r.Revision)
}

// Ensure returns when the records in the store and in the host both vouch for the revision. Callers
// at the same time share one write. It fails if the host cannot be reached, and if it turns out that
// the host or the store is another one than at the start; the gate is closed then.
func (m *Mirror) Ensure(ctx context.Context, revision uint64) error {
	if err := m.gate.Check(nil); err != nil {
		return fmt.Errorf("%w: %w", errNotOpen, err)
	}
	if revision <= m.mirrored.Load() {
		return nil
	}
	f := m.join(revision)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Note asks for the revision to be mirrored soon. It never blocks.
func (m *Mirror) Note(revision uint64) {
	if !raiseTo(&m.noted, revision) || revision <= m.mirrored.Load() {
		return
	}
	select {
	case m.noteAwake <- struct{}{}:
	default:
	}
}

// join returns the flight that has not started yet, and makes sure that it will.
func (m *Mirror) join(revision uint64) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending == nil {
		m.pending = &flight{done: make(chan struct{})}
	}
	f := m.pending
	f.revision = max(f.revision, revision)
	if !m.flying {
		m.flying = true
		go m.fly()
	}
	return f
}

// fly raises the records until nobody waits for it any more.
func (m *Mirror) fly() {
	for {
		m.mu.Lock()
		f := m.pending
		if f == nil {
			m.flying = false
			m.mu.Unlock()
			return
		}
		m.pending = nil
		identity, seen := m.identity, m.seen
		m.mu.Unlock()

		f.err = m.raise(identity, seen, f.revision)
		close(f.done)
	}
}

// raise raises first the record in the store, then the one in the host: the store is never behind.
func (m *Mirror) raise(identity string, seen *corev1.ConfigMap, revision uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), raiseTimeout)
	defer cancel()
	r, err := m.store.raise(ctx, identity, revision)
	if err == nil {
		seen, err = m.host.raise(ctx, seen, r)
	}
	if err != nil {
		return m.closeIfForeign(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identity == identity {
		m.seen = seen
		raiseTo(&m.mirrored, r.Revision)
	}
	return nil
}

// verify closes the gate if the store, or the record in the host if that is asked for too, is not the
// one any more for which the gate was opened. A record that was deleted from the host is written again.
func (m *Mirror) verify(ctx context.Context, withHost bool) error {
	m.mu.Lock()
	known := engine.StoreRecord{Identity: m.identity, Revision: m.mirrored.Load()}
	m.mu.Unlock()
	if withHost {
		cm, err := m.host.raise(ctx, nil, known)
		if err != nil {
			return m.closeIfForeign(err)
		}
		mirrored, err := parseRecord(cm)
		if err != nil {
			return err
		}
		known = *mirrored
	}
	stored, err := m.store.read(ctx)
	if err != nil {
		return m.closeIfForeign(err)
	}
	if !engine.JudgeStore(engine.StoreEvidence{Store: stored.record, Mirror: &known}).Serve {
		return m.closeIfForeign(errForeignStore)
	}
	return nil
}

// closeIfForeign closes the gate if the error says that this is another store, and returns the error.
func (m *Mirror) closeIfForeign(err error) error {
	if errors.Is(err, errForeignStore) || errors.Is(err, errForeignMirror) || errors.Is(err, ErrStoreReplaced) {
		klog.ErrorS(err, "The owner guard closes")
		m.gate.Close(err.Error())
	}
	return err
}

// run mirrors what is noted until ctx ends.
func (m *Mirror) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.noteAwake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(noteDelay):
		}
		if err := m.Ensure(ctx, m.noted.Load()); err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("Will mirror the revision of the store later", "err", err)
			select {
			case m.noteAwake <- struct{}{}:
			default:
			}
		}
	}
}

// raiseTo sets v to n if that is higher, and says whether it was.
func raiseTo(v *atomic.Uint64, n uint64) bool {
	for {
		old := v.Load()
		if n <= old {
			return false
		}
		if v.CompareAndSwap(old, n) {
			return true
		}
	}
}
