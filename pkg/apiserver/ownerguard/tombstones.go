// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// tombstoneTTL is how long a deletion is remembered: longer than ReplicaSets of a deleted
	// Rollout can wait for their collection.
	tombstoneTTL = 30 * 24 * time.Hour
	// leaseReuse is for how long tombstones share one lease of etcd, since leases are not free.
	leaseReuse = time.Hour
)

// Tombstones remember which Rollouts were deleted on purpose, so that ReplicaSets that are about to
// be collected do not keep a server from starting.
type Tombstones struct {
	client *clientv3.Client
	prefix string
	// noted is told the revision of every tombstone, so that an older copy of the store, which has the
	// Rollout still, is recognised too; nil for nobody.
	noted func(revision uint64)

	mu     sync.Mutex
	lease  clientv3.LeaseID
	leased time.Time
}

// NewTombstones returns the tombstones of a store.
func NewTombstones(s *Store) *Tombstones {
	return &Tombstones{client: s.client, prefix: path.Join(s.root, "tombstones") + "/"}
}

// Add remembers that the Rollout with this UID was deleted on purpose. One too
// many does no harm, since what the store has is never missing.
func (t *Tombstones) Add(ctx context.Context, uid types.UID) error {
	if uid == "" {
		return errors.New("a tombstone needs a UID")
	}
	for fresh := false; ; fresh = true {
		lease, err := t.currentLease(ctx, fresh)
		if err != nil {
			return fmt.Errorf("lease for the tombstone of %s: %w", uid, err)
		}
		resp, err := t.client.Put(ctx, t.prefix+string(uid), "", clientv3.WithLease(lease))
		if errors.Is(err, rpctypes.ErrLeaseNotFound) && !fresh {
			continue
		}
		if err != nil {
			return fmt.Errorf("tombstone of %s: %w", uid, err)
		}
		if t.noted != nil {
			t.noted(uint64(resp.Header.Revision))
		}
		return nil
	}
}

func (t *Tombstones) currentLease(ctx context.Context, fresh bool) (clientv3.LeaseID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !fresh && t.lease != 0 && time.Since(t.leased) < leaseReuse {
		return t.lease, nil
	}
	resp, err := t.client.Grant(ctx, int64((tombstoneTTL+leaseReuse)/time.Second))
	if err != nil {
		return 0, err
	}
	t.lease, t.leased = resp.ID, time.Now()
	return t.lease, nil
}

// all returns every UID that is remembered.
func (t *Tombstones) all(ctx context.Context) (map[types.UID]bool, error) {
	resp, err := t.client.Get(ctx, t.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("reading tombstones: %w", err)
	}
	uids := make(map[types.UID]bool, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		uids[types.UID(strings.TrimPrefix(string(kv.Key), t.prefix))] = true
	}
	return uids, nil
}
