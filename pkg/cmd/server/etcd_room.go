// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"k8s.io/klog/v2"
)

const (
	// roomInterval is how often it is asked whether the database has reached its quota.
	roomInterval = 5 * time.Second
	// roomFraction is which part of the quota has to be free before writes are let in again, or it would be reached
	// again at once.
	roomFraction = 10
	// roomReminder is how often it is said again that writes are refused.
	roomReminder = time.Minute
)

// roomKeeper watches for the alarm by which etcd refuses writes when its database has reached its quota. etcd never
// takes that back by itself, and the API server, which throws away old revisions, cannot do so any more: it would have to
// write for it.
type roomKeeper struct {
	server *etcdserver.EtcdServer
	quota  int64
	// said is when it was last said that writes are refused; zero if they are not.
	said time.Time
}

// keepRoom makes room whenever the quota was reached, and has writes let in again, until ctx ends.
func keepRoom(ctx context.Context, server *etcdserver.EtcdServer, quota int64) {
	k := &roomKeeper{server: server, quota: quota}
	ticker := time.NewTicker(roomInterval)
	defer ticker.Stop()
	for {
		if k.refusing() {
			if err := k.makeRoom(ctx); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Could not make room in etcd, which has reached its quota")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// refusing tells whether etcd refuses writes because of this member.
func (k *roomKeeper) refusing() bool {
	for _, alarm := range k.server.Alarms() {
		if alarm.Alarm == pb.AlarmType_NOSPACE && alarm.MemberID == uint64(k.server.MemberID()) {
			return true
		}
	}
	k.said = time.Time{}
	return false
}

// makeRoom throws away what nobody needs any more, and clears the alarm if that was enough. Whatever it takes, reads and
// deletions go on; watches that lag behind begin anew.
func (k *roomKeeper) makeRoom(ctx context.Context) error {
	if err := k.compact(ctx); err != nil {
		return err
	}
	before, inUse := k.server.Backend().Size(), k.server.Backend().SizeInUse()
	limit := k.quota - k.quota/roomFraction
	if inUse >= limit {
		k.complain(inUse, limit)
		return nil
	}
	if err := k.server.Backend().Defrag(); err != nil {
		return fmt.Errorf("writing the database anew: %w", err)
	}
	after := k.server.Backend().Size()
	if after >= limit {
		k.complain(after, limit)
		return nil
	}
	if _, err := k.server.Alarm(ctx, &pb.AlarmRequest{
		Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: uint64(k.server.MemberID()),
	}); err != nil {
		return fmt.Errorf("clearing the alarm: %w", err)
	}
	klog.InfoS("There is room in etcd again, and writes are let in", "bytesBefore", before, "bytes", after, "quotaBytes", k.quota)
	return nil
}

// compact throws away every revision but the present one.
func (k *roomKeeper) compact(ctx context.Context) error {
	_, err := k.server.Compact(ctx, &pb.CompactionRequest{Revision: k.server.KV().Rev(), Physical: true})
	if err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		return fmt.Errorf("throwing away old revisions: %w", err)
	}
	return nil
}

// complain says that writes are refused, now and then.
func (k *roomKeeper) complain(bytes, limit int64) {
	if time.Since(k.said) < roomReminder {
		return
	}
	k.said = time.Now()
	klog.ErrorS(nil, "etcd has reached its quota and refuses writes: delete Rollouts that nobody needs, or raise --embedded-etcd-quota-bytes",
		"bytes", bytes, "bytesForWritesToBeLetInAgain", limit, "quotaBytes", k.quota)
}
