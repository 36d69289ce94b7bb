// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

const (
	// lostAfter is how long a write may still take after etcd has got another leader. What it takes over from the
	// former, it commits at once; what was on its way to the former is lost, for which etcd itself waits longer
	// than five seconds: https://github.com/etcd-io/etcd/blob/v3.7.3/server/config/config.go (ReqTimeout).
	lostAfter = 200 * time.Millisecond
	// clearWithin is for how long a read waits for a leader, and it is tried to find out whether an update was made,
	// before the caller is asked to try again.
	clearWithin = 1500 * time.Millisecond
	// askAgain is how long to wait for a leader.
	askAgain = 50 * time.Millisecond
)

// whileLed writes, and gives up soon after etcd has got another leader meanwhile: whether it was written is not known
// then.
func (e explained) whileLed(ctx context.Context, write func(context.Context) error) error {
	if e.leaderChanged == nil {
		return write(ctx)
	}
	changed := e.leaderChanged()
	led, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-led.Done():
			return
		case <-changed:
		}
		timer := time.NewTimer(lostAfter)
		defer timer.Stop()
		select {
		case <-led.Done():
		case <-timer.C:
			cancel(rpctypes.ErrLeaderChanged)
		}
	}()
	if err := write(led); err == nil || context.Cause(led) != rpctypes.ErrLeaderChanged {
		return err
	}
	return rpctypes.ErrLeaderChanged
}

// GuaranteedUpdate changes an object. If etcd cannot tell whether it did, but the object is as it was before, the update
// is made again: of two updates from the same state etcd makes one.
func (e explained) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object) error {
	seen := ""
	noting := func(input runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		seen = version(input)
		return update(input, meta)
	}
	limit := time.Now().Add(clearWithin)
	for {
		seen = ""
		err := e.whileLed(ctx, func(ctx context.Context) error {
			return e.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, noting, cached)
		})
		if e.leaderChanged == nil || !undecided(err) || !e.unchanged(ctx, key, seen, limit) {
			return explain(err)
		}
		cached = nil
	}
}

// unchanged is true if an object is known to have this resourceVersion; also if that is empty, when an update did not even
// come to read it. It is false when the time is over, however well etcd reads: it may refuse one write after another.
func (e explained) unchanged(ctx context.Context, key, resourceVersion string, limit time.Time) bool {
	if !pause(ctx, limit) {
		return false
	}
	if resourceVersion == "" {
		return true
	}
	now := e.newObject()
	err := e.whenLed(ctx, limit, func() error { return e.Interface.Get(ctx, key, storage.GetOptions{}, now) })
	return err == nil && version(now) == resourceVersion
}

// whenLed reads, again if there was no leader, until there is one or the time is over.
func (e explained) whenLed(ctx context.Context, limit time.Time, read func() error) error {
	for {
		err := read()
		if e.leaderChanged == nil || !undecided(err) || !pause(ctx, limit) {
			return err
		}
	}
}

// pause waits for a moment, and is false if the time is over.
func pause(ctx context.Context, limit time.Time) bool {
	if !time.Now().Before(limit) {
		return false
	}
	timer := time.NewTimer(askAgain)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// version is the resourceVersion of an object; empty if it has none.
func version(obj runtime.Object) string {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return accessor.GetResourceVersion()
}
