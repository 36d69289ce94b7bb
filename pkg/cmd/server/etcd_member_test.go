// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// three starts three members at once, and returns when all serve.
func three(t *testing.T) *ensemble {
	t.Helper()
	e := newEnsemble(t, 3)
	for _, i := range rand.Perm(3) {
		e.start(t, i)
	}
	e.ready(t, 0, 1, 2)
	return e
}

// Whoever is first, there is one cluster; and any of them may die, with its disk too, while somebody writes.
func TestMembersDieAndComeBackAndNoAcknowledgedWriteIsLost(t *testing.T) {
	t.Parallel()
	e := three(t)
	cluster, first := e.voters(t, 0, 3)
	writing, stop := context.WithCancel(t.Context())
	var acknowledged sync.Map
	var count atomic.Int64
	var writers sync.WaitGroup
	for w := range 3 {
		client := e.client(t, w)
		writers.Go(func() {
			for k := 0; writing.Err() == nil; k++ {
				key := fmt.Sprintf("/k/%d/%d", w, k)
				ctx, cancel := context.WithTimeout(writing, 2*time.Second)
				if _, err := client.Put(ctx, key, "v"); err == nil {
					acknowledged.Store(key, true)
					count.Add(1)
				}
				cancel()
			}
		})
	}
	for round := range 6 {
		victim := round % 3
		before := count.Load()
		e.kill(victim)
		if round%2 == 1 {
			e.wipe(t, victim)
		}
		// The other two go on without it.
		await(t, func(context.Context) error {
			if count.Load() < before+100 {
				return fmt.Errorf("only %d writes succeeded while member %d was away", count.Load()-before, victim)
			}
			return nil
		})
		e.start(t, victim)
		e.ready(t, victim)
		now, ids := e.voters(t, (victim+1)%3, 3)
		if now != cluster {
			t.Fatalf("cluster %x has become cluster %x", cluster, now)
		}
		if again := ids[memberName(victim)] == first[memberName(victim)]; again != (round%2 == 0) {
			t.Errorf("member %d, disk wiped %v, was %x and is %x", victim, round%2 == 1, first[memberName(victim)], ids[memberName(victim)])
		}
		first = ids
	}
	stop()
	writers.Wait()
	t.Logf("%d writes were acknowledged", count.Load())
	for i := range 3 {
		resp, err := e.client(t, i).Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, kv := range resp.Kvs {
			have[string(kv.Key)] = true
		}
		acknowledged.Range(func(key, _ any) bool {
			if !have[key.(string)] {
				t.Errorf("member %d lacks %s, which was acknowledged", i, key)
			}
			return true
		})
	}
}

// The data of a server that was alone becomes that of three; a cluster of two is passed through in no time only.
func TestOneServerBecomesThree(t *testing.T) {
	t.Parallel()
	e := newEnsemble(t, 3)
	alone, err := StartEmbeddedEtcd(t.Context(), e.dir(0), DefaultEtcdQuotaBytes)
	if err != nil {
		t.Fatal(err)
	}
	e.put(t, 0, "/kept")
	if err := e.recordIdentity(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	alone.Close()
	e.start(t, 1)
	e.start(t, 2)
	e.says(t, 1, "no new cluster is founded")
	e.kill(2)
	e.start(t, 0)
	e.ready(t, 0)
	// With one learner there is one voter still, and the learner may be killed.
	e.says(t, 1, "a quorum of the cluster answers")
	e.kill(1)
	e.put(t, 0, "/by-one")
	e.start(t, 1)
	e.start(t, 2)
	e.ready(t, 1, 2)
	e.voters(t, 0, 3)
	e.has(t, "/kept", 0, 1, 2)
	e.has(t, "/by-one", 0, 1, 2)
	e.kill(0)
	if _, err := StartEmbeddedEtcd(t.Context(), e.dir(0), DefaultEtcdQuotaBytes); err == nil || !strings.Contains(err.Error(), "belongs to member m0") {
		t.Errorf("want a server that is alone to leave the data of a member alone, got %v", err)
	}
	e.put(t, 1, "/by-two")
	e.has(t, "/by-two", 1, 2)
}

// Two disks are lost: nobody founds a cluster, nobody joins without a quorum, until the loss is accepted for the third.
func TestTwoOfThreeDisksLost(t *testing.T) {
	t.Parallel()
	e := three(t)
	// The member that is left knows of a write that it is acknowledged, at the latest with the next one.
	e.put(t, 2, "/kept")
	e.put(t, 2, "/then")
	cluster, _ := e.voters(t, 0, 3)
	for i := range 3 {
		e.kill(i)
	}
	e.wipe(t, 0)
	e.wipe(t, 1)
	for i := range 3 {
		e.start(t, i)
	}
	e.says(t, 0, "are no quorum")
	e.says(t, 1, "are no quorum")
	e.kill(2)
	e.AcceptQuorumLoss = 2
	e.start(t, 2)
	e.says(t, 2, "the quorum is taken as lost, as was asked for")
	e.ready(t, 2)
	e.ready(t, 0, 1)
	if now, _ := e.voters(t, 0, 3); now != cluster {
		t.Errorf("cluster %x has become %x", cluster, now)
	}
	e.has(t, "/kept", 0, 1, 2)
}

// All disks are lost: nobody serves before that is accepted, and then one cluster is founded.
func TestAllDisksLost(t *testing.T) {
	t.Parallel()
	e := three(t)
	for i := range 3 {
		e.kill(i)
		e.wipe(t, i)
	}
	for i := range 3 {
		e.start(t, i)
	}
	for i := range 3 {
		e.says(t, i, "no new cluster is founded")
		e.kill(i)
	}
	e.AcceptDataLoss = true
	// The owner guard gives the new store to the host.
	if err := os.Remove(e.file("identity")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		e.start(t, i)
	}
	e.ready(t, 0, 1, 2)
	e.voters(t, 0, 3)
}

// A member may die at any moment of coming back with an empty disk.
func TestAMemberDiesWhileItComesBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		// until is what has been done for the member when it died.
		until func(t *testing.T, client *clientv3.Client, id uint64, url string)
	}{
		{"before anything", func(*testing.T, *clientv3.Client, uint64, string) {}},
		{"after its old self was removed", remove},
		{"after it was added, before it started", func(t *testing.T, client *clientv3.Client, id uint64, url string) {
			remove(t, client, id, url)
			await(t, func(ctx context.Context) error {
				_, err := client.MemberAddAsLearner(ctx, []string{url})
				return unless(err, rpctypes.ErrPeerURLExist)
			})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := three(t)
			e.put(t, 0, "/kept")
			_, ids := e.voters(t, 0, 3)
			e.kill(2)
			e.wipe(t, 2)
			tc.until(t, e.client(t, 0), ids["m2"], e.endpoint(2).PeerURL)
			e.start(t, 2)
			e.ready(t, 2)
			if _, now := e.voters(t, 0, 3); now["m2"] == ids["m2"] {
				t.Errorf("member %x lost its disk, and is a voter again under the same number", ids["m2"])
			}
			e.has(t, "/kept", 0, 1, 2)
		})
	}
}

func remove(t *testing.T, client *clientv3.Client, id uint64, _ string) {
	t.Helper()
	await(t, func(ctx context.Context) error {
		_, err := client.MemberRemove(ctx, id)
		return unless(err, rpctypes.ErrMemberNotFound)
	})
}

// unless is no error if it says that an earlier try, whose answer never came, has done it.
func unless(err, done error) error {
	if errors.Is(err, done) {
		return nil
	}
	return err
}

// An old copy of a volume is put back: the member finds out that the cluster has gone on without it.
func TestAnOldDiskIsPutBack(t *testing.T) {
	t.Parallel()
	e := three(t)
	e.kill(1)
	old := e.dir(1) + ".old"
	if err := os.Rename(e.dir(1), old); err != nil {
		t.Fatal(err)
	}
	e.start(t, 1)
	e.ready(t, 1)
	e.put(t, 0, "/later")
	e.kill(1)
	e.wipe(t, 1)
	if err := os.Rename(old, e.dir(1)); err != nil {
		t.Fatal(err)
	}
	e.start(t, 1)
	e.ready(t, 1)
	e.says(t, 1, "removed from the cluster, which has gone on without it")
	e.voters(t, 0, 3)
	e.has(t, "/later", 0, 1, 2)
	if _, err := os.Stat(filepath.Join(e.dir(1), "etcd.discarded", "member")); err != nil {
		t.Errorf("the data is not put aside: %v", err)
	}
}
