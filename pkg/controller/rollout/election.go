// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
)

// candidacy is one attempt to lead: from standing for election to the end of the term.
type candidacy struct {
	mu sync.Mutex
	// over is true when no term may begin any more.
	over bool
	// ended is closed when the term has ended; nil if none has begun.
	ended chan struct{}
}

// begin reports that a term begins; false if it is too late for that.
func (c *candidacy) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.ended = make(chan struct{})
	return true
}

// end makes sure that no term begins any more, and waits until the one that has begun has ended.
func (c *candidacy) end() {
	c.mu.Lock()
	c.over = true
	ended := c.ended
	c.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// standForElection waits for the Lease, leads while it holds, and returns when it was lost or ctx is
// done, and the term has ended. The Lease is released only then, after the last write, and not by the
// elector, which would let the term go on while it tries to.
func (c *Controller) standForElection(ctx context.Context) error {
	times := c.config.LeaderElection
	lock := deadlineLock{
		Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.config.Namespace, Name: LeaseName},
			Client:     c.config.Host.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.config.Identity},
		},
		timeout: times.RenewDeadline,
	}
	var candidate candidacy
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          lock,
		LeaseDuration: times.LeaseDuration,
		RenewDeadline: times.RenewDeadline,
		RetryPeriod:   times.RetryPeriod,
		Name:          LeaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				if candidate.begin() {
					defer close(candidate.ended)
					c.lead(leading)
				}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				klog.FromContext(ctx).Info("A leader was elected", "leader", identity, "self", identity == c.config.Identity)
			},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	candidate.end()
	if err := release(context.WithoutCancel(ctx), lock); err != nil {
		klog.FromContext(ctx).Info("The Lease could not be released: the next leader has to wait until it runs out", "err", err)
	}
	return nil
}

// release gives the Lease up if we hold it, so that the next leader need not wait until it runs out.
func release(ctx context.Context, lock resourcelock.Interface) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		record, _, err := lock.Get(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil || record.HolderIdentity != lock.Identity() {
			return err
		}
		record.HolderIdentity = ""
		record.LeaseDurationSeconds = 1
		return lock.Update(ctx, *record)
	})
}

// deadlineLock is a lock whose requests do not hang: the election itself sets no deadline while it
// waits for the Lease.
type deadlineLock struct {
	resourcelock.Interface
	timeout time.Duration
}

// Get returns the record of the election.
func (l deadlineLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	return l.Interface.Get(ctx)
}

// Create makes the first record of the election.
func (l deadlineLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	return l.Interface.Create(ctx, record)
}

// Update changes the record of the election.
func (l deadlineLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	return l.Interface.Update(ctx, record)
}
