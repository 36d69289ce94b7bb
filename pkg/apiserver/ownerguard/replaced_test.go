// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"errors"
	"path"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A right store is not enough: what the process remembers of the store, its watch cache, must be of the
// same one.
func TestAStoreThatIsReplacedUnderTheServerEndsIt(t *testing.T) {
	tests := []struct {
		name    string
		replace func(t *testing.T, w *world, s *server)
	}{
		{"it was wiped, and then restored", func(t *testing.T, w *world, s *server) {
			key := path.Join(DefaultRoot, "identity")
			record, err := w.disk.client.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			w.delete(key)
			if err := s.Mirror().verify(t.Context(), false); !errors.Is(err, errForeignStore) {
				t.Fatalf("got %v, want %v", err, errForeignStore)
			}
			s.mustHold("was wiped")
			if _, err := w.disk.client.Put(t.Context(), key, string(record.Kvs[0].Value)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a snapshot was put back between two looks at it", func(t *testing.T, w *world, s *server) {
			// Everything that the host knows is there; etcd alone has gone back.
			s.Store.reached.Add(5)
			if err := s.Mirror().verify(t.Context(), false); !errors.Is(err, ErrStoreReplaced) {
				t.Fatalf("got %v, want %v", err, ErrStoreReplaced)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			told := make(chan error, 100)
			s := w.start(func(c *Config) { c.Replaced = func(err error) { told <- err } }).mustServe()
			w.deploy(s, "web")
			test.replace(t, w, s)
			select {
			case err := <-told:
				if !errors.Is(err, ErrStoreReplaced) {
					t.Errorf("told %v, want %v", err, ErrStoreReplaced)
				}
			case <-time.After(15 * time.Second):
				t.Fatal("nobody was told")
			}
			s.mustHold("started anew").stop()
			w.start().mustServe()
		})
	}
}

func TestAReadNeverSeesLessThanOneThatEndedBefore(t *testing.T) {
	w := newWorld(t)
	store := NewStore(w.disk.client, DefaultRoot)
	for range 50 {
		done := make(chan error, 4)
		for range cap(done) {
			go func() {
				if _, err := w.disk.client.Put(t.Context(), "/other", "", clientv3.WithPrevKV()); err != nil {
					done <- err
					return
				}
				_, err := store.read(t.Context())
				done <- err
			}()
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}
