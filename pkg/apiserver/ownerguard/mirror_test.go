// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"errors"
	"path"
	"strconv"
	"sync"
	"testing"
)

func TestEnsureIsSharedByThoseWhoWaitAndWritesNothingTwice(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	w.host.takeWrites()
	const callers = 200
	revisions := make([]uint64, callers)
	for i := range revisions {
		revisions[i] = w.disk.writeRollout("web")
	}
	var wait sync.WaitGroup
	for _, revision := range revisions {
		wait.Go(func() {
			if err := s.Mirror().Ensure(t.Context(), revision); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got := len(w.host.takeWrites()); got == 0 || got > 5 {
		t.Errorf("want a few writes for %d callers at once, got %d", callers, got)
	}
	for _, revision := range revisions {
		s.ensure(revision)
	}
	if got := w.host.takeWrites(); len(got) != 0 {
		t.Errorf("want no write for what is mirrored already, got %v", got)
	}
}

func TestWhenEnsureReturnsBothRecordsVouchForTheRevision(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	revision := w.disk.writeRollout("web")
	s.ensure(revision)
	stored, err := s.Store.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, mirrored, err := s.Host.record(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if mirrored.Revision < revision || stored.record.Revision < mirrored.Revision {
		t.Errorf("want store >= host >= %d, got %d and %d", revision, stored.record.Revision, mirrored.Revision)
	}
}

func TestEnsureFailsWhileTheHostIsUnreachableAndWorksAfterwards(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	revision := w.disk.writeRollout("web")
	w.host.change(func() { w.host.down = true })
	if err := s.Mirror().Ensure(t.Context(), revision); err == nil {
		t.Error("want an error: nothing was mirrored")
	}
	s.mustServe()
	w.host.change(func() { w.host.down = false })
	s.ensure(revision)
}

func TestEnsureIsRefusedBeforeTheGateIsOpen(t *testing.T) {
	w := newWorld(t)
	w.host.addReplicaSet("gone-1", "gone")
	s := w.start().mustHold("default/gone")
	if err := s.Mirror().Ensure(t.Context(), 1); !errors.Is(err, errNotOpen) {
		t.Errorf("want %v, got %v", errNotOpen, err)
	}
}

func TestADeletedRecordIsWrittenAgain(t *testing.T) {
	for name, notice := range map[string]func(w *world, s *server) error{
		"by the next raise": func(w *world, s *server) error {
			return s.Mirror().Ensure(w.t.Context(), w.disk.writeRollout("web"))
		},
		"by the next comparison": func(w *world, s *server) error { return s.Mirror().verify(w.t.Context(), true) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.start().mustServe()
			s.ensure(w.disk.writeRollout("web"))
			before := s.Mirror().mirrored.Load()
			w.host.change(func() { w.host.record = nil })
			if err := notice(w, s); err != nil {
				t.Fatal(err)
			}
			if _, r, err := s.Host.record(t.Context()); err != nil || r == nil || r.Revision < before {
				t.Errorf("want the record back, got %v, %v", r, err)
			}
			s.mustServe()
		})
	}
}

// Whatever shows that this is not the store for which the gate was opened closes it again, and the
// guard judges anew.
func TestTheGateClosesWhenTheStoreTurnsOutToBeAnother(t *testing.T) {
	for _, tc := range []struct {
		name   string
		happen func(w *world)
		notice func(w *world, s *server) error
		want   error
		says   string
	}{
		{
			name: "another store was recorded in the host, and something is to be mirrored",
			happen: func(w *world) {
				w.host.change(func() { w.host.record.Data[identityKey], w.host.record.ResourceVersion = "another", "99" })
			},
			notice: func(w *world, s *server) error { return s.Mirror().Ensure(w.t.Context(), w.disk.writeRollout("web")) },
			want:   errForeignMirror, says: "is not the store another",
		},
		{
			name: "another store was recorded in the host, and the records are compared",
			happen: func(w *world) {
				w.host.change(func() { w.host.record.Data[identityKey], w.host.record.ResourceVersion = "another", "99" })
			},
			notice: func(w *world, s *server) error { return s.Mirror().verify(w.t.Context(), true) },
			want:   errForeignMirror, says: "is not the store another",
		},
		{
			name:   "etcd was wiped under the server",
			happen: func(w *world) { w.delete(path.Join(DefaultRoot, "identity")) },
			notice: func(w *world, s *server) error { return s.Mirror().verify(w.t.Context(), false) },
			want:   errForeignStore, says: "was wiped",
		},
		{
			name:   "etcd was put back under the server",
			happen: func(w *world) { w.lowerStore() },
			notice: func(w *world, s *server) error { return s.Mirror().verify(w.t.Context(), false) },
			want:   errForeignStore, says: "older copy",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.start().mustServe()
			w.deploy(s, "web")
			tc.happen(w)
			if err := tc.notice(w, s); !errors.Is(err, tc.want) {
				t.Errorf("want %v, got %v", tc.want, err)
			}
			s.mustHold(tc.says)
		})
	}
}

func TestARevisionOfAnotherStoreIsNotMirrored(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	if err := s.Mirror().Ensure(t.Context(), w.disk.writeRollout("web")+1000); !errors.Is(err, errForeignStore) {
		t.Errorf("want %v, got %v", errForeignStore, err)
	}
}

func (w *world) delete(key string) {
	w.t.Helper()
	if _, err := w.disk.client.Delete(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
}

// lowerStore makes the record in the store that of an older copy.
func (w *world) lowerStore() {
	w.t.Helper()
	store := NewStore(w.disk.client, DefaultRoot)
	seen, err := store.read(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	value := `{"identity":` + strconv.Quote(seen.record.Identity) + `,"revision":1}`
	if _, err := w.disk.client.Put(w.t.Context(), store.key(), value); err != nil {
		w.t.Fatal(err)
	}
}
