// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// shown is what a cache shows.
type shown struct {
	rollout     string
	replicaSets map[types.UID]string
	services    map[types.UID]string
	deleting    types.UID
	// upTo is how far the cache of ReplicaSets has come, servicesUpTo how far that of Services.
	upTo, servicesUpTo string
}

func (s shown) rolloutVersion() string { return s.rollout }
func (s shown) progress() string       { return s.upTo }
func (s shown) replicaSet(uid types.UID) (string, bool, bool) {
	version, found := s.replicaSets[uid]
	return version, s.deleting == uid, found
}
func (s shown) servicesProgress() string { return s.servicesUpTo }
func (s shown) service(uid types.UID) (string, bool, bool) {
	version, found := s.services[uid]
	return version, s.deleting == uid, found
}

func TestBehind(t *testing.T) {
	now := time.Now()
	wroteRollout := func(e *entry) { e.expectRollout("100", now) }
	wroteReplicaSet := func(e *entry) { e.expectReplicaSet("a", "100", now) }
	deleted := func(e *entry) { e.expectDeleted("a", now) }
	wroteService := func(e *entry) { e.expectService("s", "100", now) }
	serviceGone := func(e *entry) { e.expectServiceGone("s", now) }
	for _, tc := range []struct {
		rule   string
		wrote  func(*entry)
		cache  shown
		behind bool
	}{
		{"nothing written, nothing expected", func(*entry) {}, shown{rollout: "1"}, false},
		{"the Rollout as before the write", wroteRollout, shown{rollout: "99"}, true},
		{"the Rollout as written", wroteRollout, shown{rollout: "100"}, false},
		{"the Rollout as written later by another", wroteRollout, shown{rollout: "1000"}, false},
		{"versions are numbers, not strings", wroteRollout, shown{rollout: "20"}, true},
		{"the ReplicaSet as before the write", wroteReplicaSet, shown{replicaSets: map[types.UID]string{"a": "99"}, upTo: "200"}, true},
		{"the ReplicaSet as written", wroteReplicaSet, shown{replicaSets: map[types.UID]string{"a": "100"}}, false},
		{"created, not shown yet", wroteReplicaSet, shown{upTo: "99"}, true},
		{"created, and gone again since", wroteReplicaSet, shown{upTo: "101"}, false},
		{"created, in a cache that has seen nothing at all", wroteReplicaSet, shown{}, true},
		{"deleted, still shown", deleted, shown{replicaSets: map[types.UID]string{"a": "99"}}, true},
		{"deleted, about to go", deleted, shown{replicaSets: map[types.UID]string{"a": "101"}, deleting: "a"}, false},
		{"deleted, gone", deleted, shown{}, false},
		{"an older write does not lower what is expected", func(e *entry) { wroteReplicaSet(e); e.expectReplicaSet("a", "50", now) },
			shown{replicaSets: map[types.UID]string{"a": "60"}}, true},
		{"the Service as before the write", wroteService, shown{services: map[types.UID]string{"s": "99"}, servicesUpTo: "200"}, true},
		{"the Service as written", wroteService, shown{services: map[types.UID]string{"s": "100"}}, false},
		{"the Service is not shown yet", wroteService, shown{servicesUpTo: "99", upTo: "200"}, true},
		{"the Service is gone again since, and another has its name", wroteService, shown{services: map[types.UID]string{"t": "150"}, servicesUpTo: "150"}, false},
		{"the Service is gone, and still shown", serviceGone, shown{services: map[types.UID]string{"s": "99"}, servicesUpTo: "200"}, true},
		{"the Service is gone", serviceGone, shown{}, false},
		{"versions that are no numbers never hold a Rollout up", func(e *entry) { e.expectRollout("x", now) }, shown{rollout: "y"}, false},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			e := newLedger().entry(testKey("demo"), "uid")
			tc.wrote(e)
			if got := e.behind(tc.cache); got != tc.behind {
				t.Errorf("behind = %v, want %v", got, tc.behind)
			}
			if !tc.behind && len(e.replicaSets)+len(e.services) > 0 {
				t.Errorf("what was shown is still expected: %v, %v", e.replicaSets, e.services)
			}
		})
	}
}

func TestLedgerForgets(t *testing.T) {
	l := newLedger()
	l.entry(testKey("demo"), "first").expectRollout("100", time.Now())
	if l.entry(testKey("demo"), "first").rollout != "100" {
		t.Error("the page of a Rollout is lost")
	}
	if l.entry(testKey("demo"), "second").rollout != "" {
		t.Error("a new Rollout of the same name inherits expectations")
	}
	l.forget(testKey("demo"))
	if len(l.entries) != 0 {
		t.Error("a Rollout that is gone is not forgotten")
	}
}
