// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/engine"
)

const (
	// minBackoff and maxBackoff bound the time until a Rollout that could not be brought forward is
	// looked at again without anything having changed.
	minBackoff = 5 * time.Millisecond
	maxBackoff = 10 * time.Second
	// reconcileTimeout bounds one look at one Rollout, so that a request that hangs does not keep a
	// worker for ever.
	reconcileTimeout = 30 * time.Second
	// cachePatience is how long the caches may lack our own last write before a Rollout is read from
	// the servers instead: a watch that has died silently must not stop it.
	cachePatience = 5 * time.Second
)

// term is the time in which one replica leads, with all that must not outlive it: what is queued,
// and what is remembered of writes.
type term struct {
	*Controller
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
	ledger *ledger
	events *recorder
}

// newQueue is the queue of a term.
func (c *Controller) newQueue() workqueue.TypedRateLimitingInterface[types.NamespacedName] {
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](minBackoff, maxBackoff),
		workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: "rollouts", Clock: c.config.Clock})
}

// lead acts on Rollouts until ctx is done, and returns when the last write has been made.
func (c *Controller) lead(ctx context.Context) {
	t := &term{
		Controller: c,
		queue:      c.newQueue(),
		ledger:     newLedger(),
		events:     newRecorder(ctx, c.config.Host, c.config.Clock),
	}
	var running sync.WaitGroup
	running.Go(func() { t.events.run(ctx) })
	for range c.config.Workers {
		running.Go(func() {
			for t.next(ctx) {
			}
		})
	}
	c.leading.Store(t)
	leader.Set(1)
	for _, key := range c.rollouts.GetStore().ListKeys() {
		if name, err := cache.ParseObjectName(key); err == nil {
			t.queue.Add(name.AsNamespacedName())
		}
	}
	for _, key := range c.managers() {
		t.queue.Add(key)
	}
	<-ctx.Done()
	c.leading.Store(nil)
	t.queue.ShutDown()
	running.Wait()
	leader.Set(0)
}

// next looks at the next Rollout of the queue; false if there will be none any more.
func (t *term) next(ctx context.Context) bool {
	key, stop := t.queue.Get()
	if stop || ctx.Err() != nil {
		return false
	}
	defer t.queue.Done(key)

	logger := klog.FromContext(ctx).WithValues("rollout", klog.KRef(key.Namespace, key.Name))
	ctx, cancel := context.WithTimeout(klog.NewContext(ctx, logger), reconcileTimeout)
	defer cancel()
	start := time.Now()
	requeueAfter, err := t.reconcileSafely(ctx, key)
	result := outcomeOf(err)
	reconcileDuration.WithLabelValues(string(result)).Observe(time.Since(start).Seconds())

	switch result {
	case outcomeDone, outcomeWait:
		t.queue.Forget(key)
		if requeueAfter > 0 {
			t.queue.AddAfter(key, requeueAfter)
		}
		return true
	case outcomeConflict:
		logger.V(2).Info("Looking again: something changed in between", "reason", err)
	case outcomeRefused:
		logger.V(2).Info("Trying again later: the host cluster refuses", "reason", err)
	case outcomeError:
		if ctx.Err() == nil {
			utilruntime.HandleErrorWithContext(ctx, err, "A Rollout could not be brought forward; trying again")
		}
	}
	t.queue.AddRateLimited(key)
	return true
}

// reconcileSafely turns a panic over one Rollout into an error: it must not take the API server down,
// nor stop the other Rollouts.
func (t *term) reconcileSafely(ctx context.Context, key types.NamespacedName) (requeueAfter time.Duration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return t.reconcile(ctx, key)
}

// reconcile looks at one Rollout, decides and writes. It returns after how long to look again even
// though nothing changed, 0 if never. The error is errWait if the caches must catch up first.
func (t *term) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	seen := t.fromCache(key)
	if seen == nil {
		t.ledger.forget(key)
		return 0, t.releaseServices(ctx, key)
	}
	page := t.ledger.entry(key, seen.served.UID)
	if page.behind(seen) {
		if waited := t.config.Clock.Since(page.since); waited < cachePatience {
			klog.FromContext(ctx).V(4).Info("Waiting for the caches to show the last write")
			return cachePatience - waited, errWait
		}
		klog.FromContext(ctx).Info("The caches lack the last write, reading from the servers", "patience", cachePatience)
		return t.reconcileLive(ctx, key, page)
	}
	start := time.Now()
	decision := t.timed(t.snapshot(seen, page))
	if writes(decision) && !page.verified {
		return t.reconcileLive(ctx, key, page)
	}
	if !writes(decision) {
		return decision.RequeueAfter, t.act(ctx, seen, page, decision, start)
	}
	return withPatience(decision.RequeueAfter), t.act(ctx, seen, page, decision, start)
}

// reconcileLive does as reconcile, by what the servers say instead of the caches.
func (t *term) reconcileLive(ctx context.Context, key types.NamespacedName, page *entry) (time.Duration, error) {
	seen, err := t.fromServers(ctx, key, page)
	if err != nil || seen == nil {
		return 0, err
	}
	page.verified = true
	start := time.Now()
	decision := t.timed(t.snapshot(seen, page))
	return withPatience(decision.RequeueAfter), t.act(ctx, seen, page, decision, start)
}

// act writes what was decided. If a write failed that may have been made all the same, the caches are not
// believed again before the servers were asked.
func (t *term) act(ctx context.Context, seen *observation, page *entry, decision engine.Decision, start time.Time) error {
	if !writes(decision) {
		return t.apply(ctx, seen, page, decision)
	}
	page.account = account{}
	since, waiting := t.changes.waiting(seen.served)
	decidedOn := seen.served
	ctx, span := t.span(ctx, decidedOn, page, start)
	err := t.apply(ctx, seen, page, decision)
	if len(page.account.writes) > 0 {
		page.followed = originOf(decidedOn)
	}
	end(span, seen.served, page.account, err)
	if first := page.account.toHost; waiting && !first.IsZero() {
		t.changes.tell(decidedOn)
		changeToHostWrite.Observe(first.Sub(since).Seconds())
	}
	tell(ctx, seen.served, page.account, err)
	if outcomeOf(err) == outcomeError {
		page.verified = false
	}
	return err
}

// withPatience is requeueAfter, or sooner, in time to see whether the caches have caught up with a write or
// a live read: a watch that has died does not say so.
func withPatience(requeueAfter time.Duration) time.Duration {
	if requeueAfter > 0 {
		return min(requeueAfter, cachePatience)
	}
	return cachePatience
}

// writes tells whether a decision asks for a write.
func writes(d engine.Decision) bool {
	return len(d.Adopt) > 0 || d.Create != nil || len(d.Scale) > 0 || len(d.Pods) > 0 || len(d.Services) > 0 ||
		len(d.Evict) > 0 || len(d.Delete) > 0 || d.Workload != nil || d.Status != nil
}

// outcome is how one look at a Rollout ended.
type outcome string

const (
	outcomeDone     outcome = "done"
	outcomeWait     outcome = "wait"
	outcomeConflict outcome = "conflict"
	outcomeRefused  outcome = "refused"
	outcomeError    outcome = "error"
)

var (
	// errWait says that the caches must catch up before anything is decided.
	errWait = errors.New("the caches do not show the last write yet")
	// errConflict says that something has changed since it was observed.
	errConflict = errors.New("changed since it was observed")
	// errRefused says that the host cluster will not have a write.
	errRefused = errors.New("refused by the host cluster")
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return outcomeDone
	case errors.Is(err, errWait):
		return outcomeWait
	case errors.Is(err, errConflict):
		return outcomeConflict
	case errors.Is(err, errRefused):
		return outcomeRefused
	}
	return outcomeError
}
