// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is a host cluster and a disk, on which servers are started one after another.
type world struct {
	t    *testing.T
	host *fakeHost
	disk *etcdDisk
}

func newWorld(t *testing.T) *world {
	return &world{t: t, host: newFakeHost(t), disk: newEtcdDisk(t)}
}

// server is a running guard.
type server struct {
	*Guard
	t    *testing.T
	stop func()
}

// start starts a server. The process before it has ended, as the disk makes sure that it does.
func (w *world) start(options ...func(*Config)) *server {
	w.t.Helper()
	config := Config{
		Gate:         NewGate(rolloutKind.Group),
		Store:        NewStore(w.disk.client, DefaultRoot),
		Host:         w.host.client(w.t),
		LiveRollouts: w.disk.liveRollouts,
	}
	for _, o := range options {
		o(&config)
	}
	s := &server{Guard: New(config), t: w.t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	s.stop = func() { cancel(); <-done }
	w.t.Cleanup(s.stop)
	return s
}

func acceptDataLoss(c *Config) { c.AcceptDataLoss = true }

// mustServe waits until the gate is open.
func (s *server) mustServe() *server {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	if _, err := s.Gate.WaitOpen(ctx); err != nil {
		s.t.Fatalf("the gate is closed: %v", s.Gate.Check(nil))
	}
	return s
}

// mustHold waits until the guard says something that contains all the words.
func (s *server) mustHold(words ...string) *server {
	s.t.Helper()
	message := ""
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		err := s.Gate.Check(nil)
		if err == nil {
			s.t.Fatal("the gate is open")
		}
		message = err.Error()
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(message, word) }) {
			return s
		}
	}
	s.t.Fatalf("want the guard to say %q, it says %q", words, message)
	return s
}

func (s *server) ensure(revision uint64) {
	s.t.Helper()
	if err := s.Mirror().Ensure(s.t.Context(), revision); err != nil {
		s.t.Fatal(err)
	}
}

// deploy stores a Rollout and creates a ReplicaSet for it, as the controller does.
func (w *world) deploy(s *server, name string) {
	w.t.Helper()
	s.ensure(w.disk.writeRollout(name))
	w.host.addReplicaSet(name+"-1", types.UID(name))
}

func TestAFreshInstallIsRecordedAndARestartWritesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	if got := w.host.takeWrites(); len(got) != 1 {
		t.Errorf("want one write, the record, got %v", got)
	}
	w.deploy(s, "web")
	w.host.takeWrites()
	s.stop()
	w.start().mustServe()
	if got := w.host.takeWrites(); len(got) != 0 {
		t.Errorf("want nothing written on a restart, got %v", got)
	}
}

func TestAWipedStoreIsHeldUntilDataLossIsAccepted(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	w.deploy(s, "web")
	w.deploy(s, "api")
	s.stop()

	w.disk.putBack("")
	w.host.takeWrites()
	w.start().mustHold("was wiped", "default/api (uid api), default/web (uid web)", "--accept-data-loss").stop()
	if got := w.host.takeWrites(); len(got) != 0 {
		t.Errorf("want nothing written while the store is held, got %v", got)
	}

	w.start(acceptDataLoss).mustServe().stop()
	for _, rs := range []string{"web-1", "api-1"} {
		if owners := w.host.ownersOf(rs); len(owners) != 0 {
			t.Errorf("want %s detached, it has %v", rs, owners)
		}
	}
	w.start().mustServe()
}

func TestTheOldStoreIsRefusedAfterDataLossWasAccepted(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.start().mustServe(), "web")
	old := w.disk.copy()
	w.disk.putBack("")
	w.start(acceptDataLoss).mustServe().stop()
	w.disk.putBack(old)
	w.start().mustHold("is not the store")
}

func TestAnOlderCopyIsHeld(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	w.deploy(s, "web")
	s.stop()
	old := w.disk.copy()

	s = w.start().mustServe()
	w.deploy(s, "api")
	s.stop()
	w.disk.putBack(old)
	w.start().mustHold("older copy", "default/api").stop()

	// What etcd itself counts goes on without us, compaction sees to that; it must not help.
	for range 100 {
		if _, err := w.disk.client.Put(t.Context(), "compact_rev_key", ""); err != nil {
			t.Fatal(err)
		}
	}
	w.start().mustHold("older copy", "default/api").stop()

	w.start(acceptDataLoss).mustServe()
	if owners := w.host.ownersOf("web-1"); !slices.Equal(owners, []types.UID{"web"}) {
		t.Errorf("want the ReplicaSet of a living Rollout left alone, its owners are %v", owners)
	}
	if owners := w.host.ownersOf("api-1"); len(owners) != 0 {
		t.Errorf("want the ReplicaSet of the missing Rollout detached, its owners are %v", owners)
	}
}

func TestAnOlderCopyThatHasEveryOwnerIsHeldAfterANewRevision(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	w.deploy(s, "web")
	s.stop()
	old := w.disk.copy()
	s = w.start().mustServe()
	s.ensure(w.disk.writeRollout("web"))
	s.stop()
	w.disk.putBack(old)
	w.start().mustHold("older copy")
}

func TestAnOlderCopyThatOnlyLacksANotedStepIsHeld(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	w.deploy(s, "web")
	s.stop()
	old := w.disk.copy()
	s = w.start().mustServe()
	revision := w.disk.writeRollout("web")
	s.Mirror().Note(revision)
	waitFor(t, func() bool { return s.Mirror().mirrored.Load() >= revision })
	s.stop()
	w.disk.putBack(old)
	w.start().mustHold("older copy")
}

func TestAnOlderCopyThatStillHasADeletedRolloutIsHeld(t *testing.T) {
	w := newWorld(t)
	s := w.start().mustServe()
	w.deploy(s, "web")
	s.stop()
	old := w.disk.copy()
	s = w.start().mustServe()
	w.disk.deleteRollout("web")
	before := s.Mirror().mirrored.Load()
	if err := s.Tombstones().Add(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Mirror().mirrored.Load() > before })
	s.stop()
	w.disk.putBack(old)
	w.start().mustHold("older copy")
}

func TestForgedOwnerReferencesDoNotBlockAStart(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.start().mustServe(), "web")
	w.host.addReplicaSet("forged-1", "never-existed")
	w.start().mustServe()
}

func TestWithoutARecordTheReplicaSetsDecide(t *testing.T) {
	dead := func(rs *metav1.PartialObjectMetadata) { rs.DeletionTimestamp = &metav1.Time{Time: time.Now()} }
	for _, tc := range []struct {
		name    string
		prepare func(w *world)
		hold    string
	}{
		{name: "an owner is missing", prepare: func(w *world) { w.host.addReplicaSet("gone-1", "gone") }, hold: "default/gone"},
		{name: "a ReplicaSet that is being deleted does not count", prepare: func(w *world) { dead(w.host.addReplicaSet("gone-1", "gone")) }},
		{name: "a legitimately dead owner left a tombstone", prepare: func(w *world) {
			w.host.addReplicaSet("gone-1", "gone")
			if err := NewTombstones(NewStore(w.disk.client, DefaultRoot)).Add(w.t.Context(), "gone"); err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "owners of other kinds and groups are not ours", prepare: func(w *world) {
			rs := w.host.addReplicaSet("other-1", "a", "b")
			rs.OwnerReferences[0].Kind, rs.OwnerReferences[1].APIVersion = "Deployment", "argoproj.io/v1alpha1"
		}},
		{name: "a missing owner on the last page of many", prepare: func(w *world) {
			for _, name := range []string{"a", "b", "c", "d"} {
				w.disk.writeRollout(name)
				w.host.addReplicaSet(name+"-1", types.UID(name))
			}
			w.host.addReplicaSet("z-1", "z")
		}, hold: "default/z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			tc.prepare(w)
			if s := w.start(); tc.hold != "" {
				s.mustHold("has no record", tc.hold)
			} else {
				s.mustServe()
			}
		})
	}
}

func TestWhatAnOperatorRepairsTakesEffectWithoutARestart(t *testing.T) {
	w := newWorld(t)
	rs := w.host.addReplicaSet("gone-1", "gone")
	s := w.start().mustHold("default/gone")
	w.host.change(func() { rs.OwnerReferences = nil })
	s.mustServe()
}

func TestAnUnreachableHostKeepsTheGateClosed(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.start().mustServe(), "web")
	w.host.change(func() { w.host.down = true })
	s := w.start().mustHold("the host is down")
	w.host.change(func() { w.host.down = false })
	s.mustServe()
}

func TestAMalformedRecordKeepsTheGateClosed(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.start().mustServe(), "web")
	w.host.change(func() { delete(w.host.record.Data, identityKey) })
	w.start().mustHold("is not a record of a store")
}

func TestAcceptedDataLossTouchesOnlyDeadReferences(t *testing.T) {
	w := newWorld(t)
	w.disk.writeRollout("web")
	w.host.addReplicaSet("web-1", "web")
	mixed := w.host.addReplicaSet("mixed-1", "gone", "web", "deployment")
	mixed.OwnerReferences[2].APIVersion, mixed.OwnerReferences[2].Kind = "apps/v1", "Deployment"
	deleted := w.host.addReplicaSet("deleted-1", "gone")
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	changed := w.host.addReplicaSet("gone-1", "gone")
	w.host.beforePatch = func(rs *metav1.PartialObjectMetadata) { rs.ResourceVersion = "changed" }

	w.start(acceptDataLoss).mustServe()
	for rs, want := range map[string][]types.UID{
		"web-1": {"web"}, "mixed-1": {"web", "deployment"}, "deleted-1": {"gone"}, changed.Name: nil,
	} {
		if got := w.host.ownersOf(rs); !slices.Equal(got, want) {
			t.Errorf("%s: want owners %v, got %v", rs, want, got)
		}
	}
}

func TestAcceptDataLossDoesNothingToAStoreThatIsRight(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.start().mustServe(), "web")
	w.host.addReplicaSet("forged-1", "never-existed")
	w.host.takeWrites()
	w.start(acceptDataLoss).mustServe()
	if got := w.host.takeWrites(); len(got) != 0 {
		t.Errorf("want nothing written, got %v", got)
	}
}

func TestReplicasOnOneFreshStoreAgreeOnItsIdentity(t *testing.T) {
	w := newWorld(t)
	var replicas []*server
	for range 4 {
		replicas = append(replicas, w.start())
	}
	for _, s := range replicas {
		s.mustServe()
		s.ensure(w.disk.writeRollout("web"))
	}
	for _, s := range replicas {
		if err := s.Mirror().verify(t.Context(), true); err != nil {
			t.Error(err)
		}
		s.mustServe()
	}
}

func TestTombstonesExpire(t *testing.T) {
	w := newWorld(t)
	tombstones := NewTombstones(NewStore(w.disk.client, DefaultRoot))
	for _, uid := range []types.UID{"a", "b"} {
		if err := tombstones.Add(t.Context(), uid); err != nil {
			t.Fatal(err)
		}
	}
	var kvs []*mvccpb.KeyValue
	for _, uid := range []string{"a", "b"} {
		resp, err := w.disk.client.Get(t.Context(), "/sluice.dev/tombstones/"+uid)
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("%s: %v, %v", uid, resp, err)
		}
		kvs = append(kvs, resp.Kvs...)
	}
	if kvs[0].Lease == 0 || kvs[0].Lease != kvs[1].Lease {
		t.Errorf("want one lease for both, got %d and %d", kvs[0].Lease, kvs[1].Lease)
	}
	if _, err := w.disk.client.Revoke(t.Context(), tombstones.lease); err != nil {
		t.Fatal(err)
	}
	if err := tombstones.Add(t.Context(), "c"); err != nil {
		t.Errorf("want a new lease when the old one is gone: %v", err)
	}
	if buried, err := tombstones.all(t.Context()); err != nil || len(buried) != 1 || !buried["c"] {
		t.Errorf("want only c remembered, got %v, %v", buried, err)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !done(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}
