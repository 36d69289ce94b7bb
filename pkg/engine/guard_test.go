// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestJudgeStore(t *testing.T) {
	record := func(identity string, revision uint64) *StoreRecord {
		return &StoreRecord{Identity: identity, Revision: revision}
	}
	owner := func(name string) OwnerOfReplicaSets {
		return OwnerOfReplicaSets{UID: types.UID("uid-" + name), Namespace: "default", Name: name, ReplicaSets: []string{name + "-1"}}
	}
	live := func(names ...string) map[types.UID]string {
		m := map[types.UID]string{}
		for _, n := range names {
			m[types.UID("uid-"+n)] = "default/" + n
		}
		return m
	}
	web, api := owner("web"), owner("api")

	for _, tc := range []struct {
		name                string
		evidence            StoreEvidence
		serve, record, look bool
		missing             string
		reason              string
	}{
		{
			name:     "a fresh install is recorded and served",
			evidence: StoreEvidence{HostSeen: true},
			serve:    true, record: true,
		},
		{
			name:     "a fresh install is not judged by the records alone",
			evidence: StoreEvidence{},
			look:     true, reason: "not known yet",
		},
		{
			name:     "a restart: the records agree",
			evidence: StoreEvidence{Store: record("a", 7), Mirror: record("a", 7)},
			serve:    true,
		},
		{
			name:     "a crash between the two records leaves the store ahead, never behind",
			evidence: StoreEvidence{Store: record("a", 9), Mirror: record("a", 7)},
			serve:    true,
		},
		{
			name: "forged owner references do not block a start while the records agree",
			evidence: StoreEvidence{Store: record("a", 7), Mirror: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{owner("forged")}, Live: live("web")},
			serve: true,
		},
		{
			name: "a legitimately dead owner does not block a start while the records agree",
			evidence: StoreEvidence{Store: record("a", 7), Mirror: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web}},
			serve: true,
		},
		{
			name:     "a wiped store is held, and what is missing is named",
			evidence: StoreEvidence{Mirror: record("a", 7), HostSeen: true, Owners: []OwnerOfReplicaSets{web, api}},
			missing:  "api web", reason: "empty or was wiped",
		},
		{
			name:     "a wiped store is held before anybody has looked into the host",
			evidence: StoreEvidence{Mirror: record("a", 7)},
			look:     true, reason: "not known yet",
		},
		{
			name:     "a wiped store is held even if nothing is missing: Rollouts without pods are lost as well",
			evidence: StoreEvidence{Mirror: record("a", 7), HostSeen: true},
			reason:   "empty or was wiped",
		},
		{
			name: "an older copy is held, and what it does not have yet is named",
			evidence: StoreEvidence{Store: record("a", 5), Mirror: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web, api}, Live: live("web")},
			missing: "api", reason: "ends at revision 5, and the host cluster knows it up to revision 7",
		},
		{
			name: "an older copy is held even if it has every owner: it would roll pods back",
			evidence: StoreEvidence{Store: record("a", 5), Mirror: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web}, Live: live("web")},
			reason: "older copy",
		},
		{
			name: "a tombstone does not excuse an older copy, but what it buries is not missing",
			evidence: StoreEvidence{Store: record("a", 5), Mirror: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web}, Buried: map[types.UID]bool{web.UID: true}},
			reason: "older copy",
		},
		{
			name: "another store is held, however far it has come",
			evidence: StoreEvidence{Store: record("b", 99), Mirror: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web}},
			missing: "web", reason: "the store b is not the store a",
		},
		{
			name: "the record was deleted from the host: ReplicaSets whose owners live do not hinder that it is written again",
			evidence: StoreEvidence{Store: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web}, Live: live("web", "api")},
			serve: true, record: true,
		},
		{
			name: "the record was deleted from the host: a missing owner is reason enough to hold",
			evidence: StoreEvidence{Store: record("a", 7), HostSeen: true,
				Owners: []OwnerOfReplicaSets{web, api}, Live: live("web")},
			missing: "api", reason: "has no record of this store",
		},
		{
			name:     "wiped, and the record deleted as well: the ReplicaSets decide alone",
			evidence: StoreEvidence{HostSeen: true, Owners: []OwnerOfReplicaSets{web}},
			missing:  "web", reason: "has no record of this store",
		},
		{
			name: "an owner of the same name with another UID is missing",
			evidence: StoreEvidence{HostSeen: true, Owners: []OwnerOfReplicaSets{web},
				Live: map[types.UID]string{"another": "default/web"}},
			missing: "web", reason: "has no record of this store",
		},
		{
			name: "a legitimately dead owner does not block a start without a record: it left a tombstone",
			evidence: StoreEvidence{HostSeen: true, Owners: []OwnerOfReplicaSets{web},
				Buried: map[types.UID]bool{web.UID: true}},
			serve: true, record: true,
		},
		{
			name: "a tombstone of a Rollout that is still there says nothing",
			evidence: StoreEvidence{HostSeen: true, Owners: []OwnerOfReplicaSets{web}, Live: live("web"),
				Buried: map[types.UID]bool{web.UID: true}},
			serve: true, record: true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := JudgeStore(tc.evidence)
			if v.Serve != tc.serve || v.Record != tc.record || v.Look != tc.look {
				t.Errorf("want serve %v, record %v, look %v; got %v, %v, %v", tc.serve, tc.record, tc.look, v.Serve, v.Record, v.Look)
			}
			var missing []string
			for _, o := range v.Missing {
				missing = append(missing, o.Name)
			}
			if got := strings.Join(missing, " "); got != tc.missing {
				t.Errorf("want missing %q, got %q", tc.missing, got)
			}
			if (tc.reason == "") != (v.Reason == "") || !strings.Contains(v.Reason, tc.reason) {
				t.Errorf("want reason %q, got %q", tc.reason, v.Reason)
			}
		})
	}
}

func TestStoreVerdictMessage(t *testing.T) {
	if got := (StoreVerdict{Serve: true}).Message(); got != "" {
		t.Errorf("want nothing to say about a store that answers, got %q", got)
	}
	v := StoreVerdict{Reason: "the store is empty"}
	for i := range namedMissing + 3 {
		v.Missing = append(v.Missing, OwnerOfReplicaSets{UID: types.UID(fmt.Sprintf("u%d", i)), Namespace: "default", Name: fmt.Sprintf("web-%d", i)})
	}
	got := v.Message()
	for _, want := range []string{"the store is empty", "default/web-0 (uid u0)", "and 3 more", "restore the newest copy of the store", "--accept-data-loss"} {
		if !strings.Contains(got, want) {
			t.Errorf("want the message to contain %q, got %q", want, got)
		}
	}
	if strings.Contains(got, fmt.Sprintf("web-%d ", namedMissing)) {
		t.Errorf("want %d names at most, got %q", namedMissing, got)
	}
}
