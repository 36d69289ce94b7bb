// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"strings"
	"testing"
	"time"
)

const store = "11111111-2222-3333-4444-555555555555"

// quorum is a cluster of the given members, which keeps the store.
func quorum(identity string, ids ...uint64) *Cluster {
	c := &Cluster{ID: 7, Identity: identity}
	for _, id := range ids {
		c.Members = append(c.Members, Member{ID: id, Name: "started"})
	}
	return c
}

func TestDecide(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Observation
		want Action
		says string
	}{
		// The first start.
		{"nothing anywhere: whoever is first claims", Observation{Content: Empty}, Claim, ""},
		{"the claim is mine: found", Observation{Content: Empty, Founder: "a"}, Found, ""},
		{"the claim is another's: wait for it", Observation{Content: Empty, Founder: "b"}, Wait, "member b"},
		{"the founder serves, but the host does not know its store yet: it may still found anew", Observation{Content: Empty, Founder: "b", Quorum: quorum("", 1), Reached: 1}, Wait, "not recorded"},
		{"the store has its identity, and the host not yet", Observation{Content: Empty, Founder: "b", Quorum: quorum(store, 1), Reached: 1}, Wait, "not recorded"},
		{"the host knows the store: join", Observation{Content: Empty, Founder: "b", Identity: store, Quorum: quorum(store, 1), Reached: 1}, Join, ""},
		{"the claimant died before it had founded, or while it did: it goes on", Observation{Content: Empty, Founder: "a"}, Found, ""},
		{"the claimant died after it had founded, before the host knew: it goes on with its data", Observation{Content: Joined, Owner: "a", Founder: "a"}, Start, ""},
		{"the claimant died with its disk, and the host knows nothing: nobody else takes over", Observation{Content: Empty, Founder: "b"}, Wait, "member b"},

		// A record in the host.
		{"the founder's disk is empty, and the host knows a store: never found", Observation{Content: Empty, Founder: "a", Identity: store}, Wait, "no new cluster is founded"},
		{"nobody claims, and the host knows a store: never found", Observation{Content: Empty, Identity: store}, Wait, store},
		{"the founder's disk is empty, and the others are a quorum: it joins like anybody", Observation{Content: Empty, Founder: "a", Identity: store, Quorum: quorum(store, 2, 3), Reached: 2}, Join, ""},
		{"two disks are empty, the third has data and no quorum", Observation{Content: Empty, Founder: "b", Identity: store, Reached: 1}, Wait, "no quorum"},
		{"two disks are empty, one of them the founder's", Observation{Content: Empty, Founder: "a", Identity: store, Reached: 1}, Wait, "no quorum"},
		{"the record was deleted while others have data: the founder does not found a second cluster", Observation{Content: Empty, Founder: "a", Reached: 1}, Wait, "no quorum"},
		{"the record was deleted while others are a quorum: it is written again first", Observation{Content: Empty, Founder: "a", Quorum: quorum(store, 2, 3), Reached: 2}, Wait, "not recorded"},
		{"the cluster that answers is not the one that the host knows", Observation{Content: Empty, Founder: "b", Identity: store, Quorum: quorum("other", 1), Reached: 1}, Wait, `"other"`},

		// Data.
		{"a restart, whether or not others answer", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store}, Start, ""},
		{"a restart beside a quorum", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, Quorum: quorum(store, 1, 2, 3), Reached: 2}, Start, ""},
		{"data, and the claim was deleted: it is claimed again, so that nobody founds", Observation{Content: Joined, Owner: "a", Identity: store}, Claim, ""},
		{"the volume of another member", Observation{Content: Joined, Owner: "b", Founder: "b", Identity: store}, Refuse, "belongs to member b"},
		{"an empty volume that was another member's", Observation{Content: Empty, Owner: "b", Founder: "b", Identity: store}, Refuse, "belongs to member b"},

		// From one server to three.
		{"the data of a server that was alone: it founds the cluster", Observation{Content: Standalone, Identity: store}, Claim, ""},
		{"and goes on with that data", Observation{Content: Standalone, Founder: "a", Identity: store}, Start, ""},
		{"the others wait meanwhile", Observation{Content: Empty, Founder: "b", Identity: store}, Wait, "no new cluster is founded"},
		{"another server's lone data beside a cluster", Observation{Content: Standalone, Founder: "b", Identity: store}, Refuse, "founded by b"},

		// Removed, as when an old copy of a volume is put back.
		{"etcd stopped, and nobody says why", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, Stopped: &Self{7, 1}}, Wait, "no quorum"},
		{"etcd stopped, and others answer without a quorum", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, Stopped: &Self{7, 1}, Reached: 1}, Wait, "no quorum"},
		{"the quorum has gone on without it", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, Stopped: &Self{7, 1}, Quorum: quorum(store, 2, 3), Reached: 2}, Discard, ""},
		{"the quorum still counts it", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, Stopped: &Self{7, 1}, Quorum: quorum(store, 1, 2, 3), Reached: 2}, Start, ""},
		{"the others are a cluster of their own", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, Stopped: &Self{8, 1}, Quorum: quorum(store, 2, 3), Reached: 2}, Refuse, "cluster 8"},
		{"the host knows another store than the quorum: no data is given up", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: "other", Stopped: &Self{7, 1}, Quorum: quorum(store, 2, 3), Reached: 2}, Wait, "no data is given up"},

		// A person accepts a loss.
		{"all disks are empty and the loss is accepted: the founder founds", Observation{Content: Empty, Founder: "a", Identity: store, AcceptDataLoss: true}, Found, ""},
		{"the others do not", Observation{Content: Empty, Founder: "b", Identity: store, AcceptDataLoss: true}, Wait, "member b"},
		{"nor does it while somebody has data", Observation{Content: Empty, Founder: "a", Identity: store, AcceptDataLoss: true, Reached: 1}, Wait, "no quorum"},
		{"nor beside a quorum", Observation{Content: Empty, Founder: "a", Identity: store, AcceptDataLoss: true, Quorum: quorum(store, 2, 3), Reached: 2}, Join, ""},
		{"accepting data loss does not touch data", Observation{Content: Joined, Owner: "a", Founder: "a", Identity: store, AcceptDataLoss: true}, Start, ""},
		{"the quorum may be back in a moment", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, AcceptQuorumLoss: true, Alone: time.Second}, Wait, "taken as lost"},
		{"the quorum is lost and this is accepted", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, AcceptQuorumLoss: true, Alone: time.Minute}, StartAlone, ""},
		{"it is not lost: another member answers", Observation{Content: Joined, Owner: "a", Founder: "b", Identity: store, AcceptQuorumLoss: true, Reached: 1}, Start, ""},
		{"the wish does nothing to an empty disk", Observation{Content: Empty, Founder: "b", Identity: store, AcceptQuorumLoss: true, Alone: time.Minute}, Wait, "no new cluster is founded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Name = "a"
			got := Decide(tc.o)
			if got.Action != tc.want || got.Because == "" || !strings.Contains(got.Because, tc.says) {
				t.Errorf("want %s saying %q, got %s: %s", tc.want, tc.says, got.Action, got.Because)
			}
		})
	}
}

// Whatever else is observed, these hold.
func TestDecideNeverFoundsASecondCluster(t *testing.T) {
	count := 0
	everything(func(o Observation) {
		count++
		d := Decide(o)
		switch d.Action {
		case Found:
			if o.Content != Empty || o.Founder != o.Name || o.Reached > 0 || o.Quorum != nil || (o.Identity != "" && !o.AcceptDataLoss) {
				t.Errorf("founds: %+v", o)
			}
		case Discard:
			if o.Stopped == nil || o.Quorum == nil || o.Quorum.ID != o.Stopped.Cluster || o.Quorum.has(o.Stopped.ID) || o.Identity == "" || o.Quorum.Identity != o.Identity {
				t.Errorf("gives data up: %+v", o)
			}
		case Join:
			if o.Content != Empty || o.Quorum == nil || o.Identity == "" || o.Quorum.Identity != o.Identity {
				t.Errorf("joins: %+v", o)
			}
		case StartAlone:
			if !o.AcceptQuorumLoss || o.Reached > 0 || o.Quorum != nil || o.Content == Empty {
				t.Errorf("starts alone: %+v", o)
			}
		}
	})
	if count < 10_000 {
		t.Errorf("only %d observations were tried", count)
	}
}

// everything calls do with every combination of what can be observed.
func everything(do func(Observation)) {
	identities := []string{"", store, "other"}
	for _, content := range []Content{Empty, Standalone, Joined} {
		for _, owner := range []string{"", "a", "b"} {
			for _, identity := range identities {
				for _, founder := range []string{"", "a", "b"} {
					for _, q := range []*Cluster{nil, quorum("", 1, 2), quorum(store, 1, 2), quorum(store, 2, 3), quorum("other", 2, 3)} {
						for reached := range 3 {
							for _, stopped := range []*Self{nil, {7, 1}, {8, 1}} {
								for bits := range 8 {
									do(Observation{Name: "a", Content: content, Owner: owner, Identity: identity, Founder: founder, Quorum: q, Reached: reached, Stopped: stopped,
										AcceptDataLoss: bits&1 != 0, AcceptQuorumLoss: bits&2 != 0, Alone: time.Duration(bits/4) * time.Hour})
								}
							}
						}
					}
				}
			}
		}
	}
}

func TestMayPromote(t *testing.T) {
	voter, learner, added := Member{Name: "v"}, Member{Name: "l", Learner: true}, Member{Learner: true}
	for _, tc := range []struct {
		name    string
		members []Member
		wanted  int
		want    bool
	}{
		{"the first learner of three waits for the second", []Member{voter, learner}, 3, false},
		{"a second that was added and has not started does not count", []Member{voter, learner, added}, 3, false},
		{"both are there", []Member{voter, learner, learner}, 3, true},
		{"the second follows at once", []Member{voter, voter, learner}, 3, true},
		{"a member that comes back to two", []Member{voter, voter, learner}, 3, true},
		{"a cluster that is to have two has no third to wait for", []Member{voter, learner}, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := MayPromote(tc.members, tc.wanted); got != tc.want {
				t.Errorf("want %v, got %v", tc.want, got)
			}
		})
	}
}
