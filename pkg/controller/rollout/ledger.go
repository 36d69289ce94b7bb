// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// ledger remembers, for every Rollout that the leader of this term has looked at, what its caches
// must show before it may look again: its own last writes, and whatever it has read past the
// caches. Without that it would act twice on one observation, for example scale one ReplicaSet up
// by a cache that does not know yet that it has scaled up another.
type ledger struct {
	mu      sync.Mutex
	entries map[types.NamespacedName]*entry
}

func newLedger() *ledger { return &ledger{entries: map[types.NamespacedName]*entry{}} }

// entry returns the page of one Rollout; a new one if there is none yet, or if the one that there
// is speaks of an earlier Rollout of that name. The caller must be the only one that works on key.
func (l *ledger) entry(key types.NamespacedName, uid types.UID) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil || e.uid != uid {
		e = &entry{uid: uid, replicaSets: map[types.UID]expectation{}, services: map[types.UID]expectation{}, workloads: map[types.UID]expectation{}, pods: map[types.UID]written{}}
		l.entries[key] = e
	}
	return e
}

// forget drops the page of a Rollout that is gone.
func (l *ledger) forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, key)
}

// entry is what the caches must show of one Rollout, its ReplicaSets and its Services.
type entry struct {
	uid types.UID
	// account is what the present look has written.
	account account
	// followed is the change whose trace a decision was made part of already.
	followed OriginKey
	// verified is true once a decision to write was made on live reads in this term: a new leader's
	// caches may lack the last writes of the one before.
	verified bool
	// since is when the last expectation was added.
	since time.Time
	// rollout is the lowest resourceVersion that the cache must show of the Rollout; empty if any.
	rollout string
	// replicaSets are the expectations of single ReplicaSets.
	replicaSets map[types.UID]expectation
	// services are the expectations of single Services.
	services map[types.UID]expectation
	// workloads are the expectations of Deployments.
	workloads map[types.UID]expectation
	// pods are the last writes of single pods. Nothing waits for the cache to show them: they are only not written
	// again before it does.
	pods map[types.UID]written
	// evictionRefused is why the host refused the last eviction, and refusedAt when it did; empty if it did
	// not, or if that is so long ago that another may be tried.
	evictionRefused string
	refusedAt       time.Time
}

// expectation is what the cache must show of a ReplicaSet, a Service or a Deployment.
type expectation struct {
	// resourceVersion is the lowest that the cache must show; if it shows no such object it must have come
	// as far as this.
	resourceVersion string
	// deleted is true if the object must be gone, or be about to go.
	deleted bool
}

// view is what a cache shows, as far as the ledger must know.
type view interface {
	// rolloutVersion returns the resourceVersion of the Rollout.
	rolloutVersion() string
	// replicaSet returns the resourceVersion of a ReplicaSet and whether it is being deleted; false
	// if the cache does not hold it.
	replicaSet(uid types.UID) (resourceVersion string, deleting, found bool)
	// progress returns the highest resourceVersion of ReplicaSets that the cache has taken in.
	progress() string
	// service and servicesProgress return the same of Services.
	service(uid types.UID) (resourceVersion string, deleting, found bool)
	servicesProgress() string
	// workloadVersion and workloadsProgress return the same of Deployments.
	workloadVersion(uid types.UID) (resourceVersion string, deleting, found bool)
	workloadsProgress() string
}

func (e *entry) expectRollout(resourceVersion string, now time.Time) {
	if older(e.rollout, resourceVersion) {
		e.rollout, e.since = resourceVersion, now
	}
}

func (e *entry) expectReplicaSet(uid types.UID, resourceVersion string, now time.Time) {
	e.expect(e.replicaSets, uid, resourceVersion, now)
}

func (e *entry) expectDeleted(uid types.UID, now time.Time) {
	e.replicaSets[uid], e.since = expectation{deleted: true}, now
}

func (e *entry) expectService(uid types.UID, resourceVersion string, now time.Time) {
	e.expect(e.services, uid, resourceVersion, now)
}

func (e *entry) expectWorkload(uid types.UID, resourceVersion string, now time.Time) {
	e.expect(e.workloads, uid, resourceVersion, now)
}

func (e *entry) expectServiceGone(uid types.UID, now time.Time) {
	e.services[uid], e.since = expectation{deleted: true}, now
}

func (e *entry) expect(all map[types.UID]expectation, uid types.UID, resourceVersion string, now time.Time) {
	if old, ok := all[uid]; ok && !older(old.resourceVersion, resourceVersion) {
		return
	}
	all[uid], e.since = expectation{resourceVersion: resourceVersion}, now
}

// behind tells whether the cache has yet to show something that is expected. What it shows is
// expected no longer.
func (e *entry) behind(v view) bool {
	return older(v.rolloutVersion(), e.rollout) ||
		unmet(e.replicaSets, v.replicaSet, v.progress) || unmet(e.services, v.service, v.servicesProgress) ||
		unmet(e.workloads, v.workloadVersion, v.workloadsProgress)
}

// shows returns what a cache shows of one object.
type shows func(uid types.UID) (resourceVersion string, deleting, found bool)

// unmet tells whether any of the expectations is not met yet. Those that are, are removed.
func unmet(all map[types.UID]expectation, shown shows, progress func() string) bool {
	for uid, want := range all {
		if !want.met(uid, shown, progress) {
			return true
		}
		delete(all, uid)
	}
	return false
}

func (x expectation) met(uid types.UID, shown shows, progress func() string) bool {
	resourceVersion, deleting, found := shown(uid)
	switch {
	case x.deleted:
		return !found || deleting
	case !found:
		return !older(progress(), x.resourceVersion)
	}
	return !older(resourceVersion, x.resourceVersion)
}

// older tells whether resourceVersion a comes before b. An empty a comes before all, an empty b
// before none. Versions that do not compare count as not older: better one decision too many, whose
// writes fail by their preconditions, than a Rollout that stands still.
func older(a, b string) bool {
	if a == "" || b == "" {
		return a == "" && b != ""
	}
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && c < 0
}
