// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"time"

	"k8s.io/klog/v2"
)

const (
	// defragInterval is how often it is asked whether the database is worth being rewritten.
	defragInterval = time.Hour
	// defragMinBytes is how much a rewrite has to free: it blocks writes while it runs.
	defragMinBytes = 64 << 20
)

// etcdBackend is the database of etcd.
type etcdBackend interface {
	// Size is the size of the file, SizeInUse the part of it that holds data. Unit: bytes.
	Size() int64
	SizeInUse() int64
	Defrag() error
}

// defragment gives back what compaction has freed in the database, now and then, until ctx ends.
func defragment(ctx context.Context, b etcdBackend) {
	ticker := time.NewTicker(defragInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			defragmentIfWorthwhile(b)
		}
	}
}

// defragmentIfWorthwhile rewrites the database if at least half of it is free, and not for a little.
func defragmentIfWorthwhile(b etcdBackend) {
	before, used := b.Size(), b.SizeInUse()
	if free := before - used; free < defragMinBytes || free < used {
		return
	}
	start := time.Now()
	if err := b.Defrag(); err != nil {
		klog.ErrorS(err, "Could not defragment etcd", "bytes", before, "bytesInUse", used)
		return
	}
	klog.InfoS("Defragmented etcd", "bytesBefore", before, "bytes", b.Size(), "took", time.Since(start))
}
