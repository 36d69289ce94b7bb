// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"fmt"
	"slices"
	"time"
)

// aloneBefore is how long no other member may have answered before the data of one member becomes a cluster of
// its own, on request. The others may just be starting.
const aloneBefore = 30 * time.Second

// Content is what is in the data directory.
type Content string

const (
	// Empty is no data, or that of a cluster whose founding was interrupted: nothing in it was ever acknowledged.
	Empty Content = "empty"
	// Standalone is the data of a server that was alone.
	Standalone Content = "standalone"
	// Joined is the data of a member of a cluster.
	Joined Content = "joined"
)

// Observation is all that a decision depends on.
type Observation struct {
	// Name is the name of this member.
	Name string
	// Content is what the data directory holds, and Owner the member that it belongs to; empty if it belonged to none yet.
	Content Content
	Owner   string
	// Identity is the store that the host cluster knows; empty if it knows none. Once it knows one, writes may have
	// been acknowledged.
	Identity string
	// Founder is the member that has claimed to found the cluster; empty if none has.
	Founder string
	// Quorum is the cluster that the other members form, if it can decide at this moment; nil if not.
	Quorum *Cluster
	// Reached is how many other members answered at all: each has data.
	Reached int
	// Alone is for how long none has answered.
	Alone time.Duration
	// Stopped is which member etcd was here, when it stopped by itself in this process: nil if it did not. It does so
	// when it was removed from the cluster.
	Stopped *Self
	// AcceptDataLoss is the wish to go on with an empty store if the one that the host knows is lost.
	AcceptDataLoss bool
	// AcceptQuorumLoss is the wish to go on with the data of this member alone.
	AcceptQuorumLoss bool
}

// Self is how etcd knows a member.
type Self struct {
	// Cluster and ID are the numbers that etcd gives to clusters and members.
	Cluster, ID uint64
}

// Cluster is what a quorum says.
type Cluster struct {
	// ID is the number of the cluster.
	ID uint64
	// Identity is the store that it keeps; empty if it was given none yet.
	Identity string
	// Members are all, learners too.
	Members []Member
}

// Member is an entry of the list of members.
type Member struct {
	ID uint64
	// Name is empty until the member has started.
	Name    string
	URL     string
	Learner bool
}

// Action is what to do.
type Action string

const (
	// Wait is to observe again, a little later.
	Wait Action = "wait"
	// Refuse is to end with an error: only a person can help.
	Refuse Action = "refuse"
	// Claim is to claim the right to found the cluster, and to observe again.
	Claim Action = "claim"
	// Found is to start a new cluster of one.
	Found Action = "found"
	// Start is to go on with the data that is there.
	Start Action = "start"
	// StartAlone is to go on with the data that is there, as a cluster of one.
	StartAlone Action = "start alone"
	// Join is to become a new member of the cluster: what was known there under this name is removed first.
	Join Action = "join"
	// Discard is to put the data aside, and to observe again.
	Discard Action = "discard"
)

// Decision is an action with its reason.
type Decision struct {
	Action Action
	// Because is for people, in a whole sentence without its full stop.
	Because string
}

// Decide says what a member has to do before its etcd serves.
//
// What it promises, whatever is observed and whenever anybody dies: there are never two clusters of which both
// have acknowledged writes. The claim is taken once, and nobody but its holder founds. The holder founds only
// while the host knows no store, or with its data given up by a person, and only while no other member answers;
// the others join only once the host knows the store of the cluster. So while a founder may found again, nobody
// has joined what it founded before.
func Decide(o Observation) Decision {
	if o.Owner != "" && o.Owner != o.Name {
		return Decision{Refuse, fmt.Sprintf("the data directory belongs to member %s, and this is member %s: give each member a volume of its own", o.Owner, o.Name)}
	}
	if o.Content == Empty {
		return decideEmpty(o)
	}
	if o.Stopped != nil {
		return decideStopped(o)
	}
	switch {
	case o.Founder == "":
		return Decision{Claim, "there is data here, and nobody claims to have founded the cluster"}
	case o.Content == Standalone && o.Founder != o.Name:
		return Decision{Refuse, fmt.Sprintf("the data directory holds a store of its own, and the cluster was founded by %s: empty the data directory if that store is not needed", o.Founder)}
	case o.AcceptQuorumLoss && o.Quorum == nil && o.Reached == 0 && o.Alone < aloneBefore:
		return Decision{Wait, fmt.Sprintf("no other member answers; if none does for %v, the quorum is taken as lost, as was asked for", aloneBefore)}
	case o.AcceptQuorumLoss && o.Quorum == nil && o.Reached == 0:
		return Decision{StartAlone, "the loss of the quorum is accepted, and no other member answers"}
	}
	return Decision{Start, "there is data of this member"}
}

// decideEmpty is for a member without data.
func decideEmpty(o Observation) Decision {
	switch {
	case o.Quorum != nil && o.Identity == "":
		return Decision{Wait, "the store of the cluster is not recorded in the host cluster yet"}
	case o.Quorum != nil && o.Quorum.Identity != o.Identity:
		return Decision{Wait, fmt.Sprintf("the cluster that answers keeps store %q, and the host cluster knows store %q: nobody joins a store that may not serve", o.Quorum.Identity, o.Identity)}
	case o.Quorum != nil:
		return Decision{Join, "the data directory is empty, and a quorum of the cluster answers"}
	case o.Reached > 0:
		return Decision{Wait, "the data directory is empty; other members answer, and are no quorum: an empty member can join only once they are"}
	case o.Identity != "" && !o.AcceptDataLoss:
		return Decision{Wait, fmt.Sprintf("the data directory is empty, and no other member answers; since the host cluster knows store %s no new cluster is founded: start the members that have their data, or restore a backup, or accept the loss with --accept-data-loss", o.Identity)}
	case o.Founder == "":
		return Decision{Claim, "nobody has founded a cluster yet"}
	case o.Founder == o.Name:
		return Decision{Found, "this member has claimed to found the cluster, and nothing was acknowledged yet, or its loss is accepted"}
	}
	return Decision{Wait, fmt.Sprintf("member %s has claimed to found the cluster and does not answer yet", o.Founder)}
}

// decideStopped is for a member with data whose etcd has stopped by itself.
func decideStopped(o Observation) Decision {
	q := o.Quorum
	switch {
	case q == nil:
		return Decision{Wait, "etcd stopped by itself, and no quorum says whether this member was removed"}
	case q.ID != o.Stopped.Cluster:
		return Decision{Refuse, fmt.Sprintf("the data directory is of cluster %x, and the other members are cluster %x: empty the data directory if its store is not needed", o.Stopped.Cluster, q.ID)}
	case o.Identity == "" || q.Identity != o.Identity:
		return Decision{Wait, fmt.Sprintf("the cluster that answers keeps store %q, and the host cluster knows store %q: no data is given up for it", q.Identity, o.Identity)}
	case q.has(o.Stopped.ID):
		return Decision{Start, "etcd stopped by itself, and this member still belongs to the cluster"}
	}
	return Decision{Discard, "this member was removed from the cluster, which has gone on without it"}
}

func (c *Cluster) has(id uint64) bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.ID == id })
}

// MayPromote says whether a learner may be made a voter now, in a cluster that is to have so many members.
// A cluster of two voters stops when either stops, and is lost with either disk, which one of one and one of
// three are not: the first two learners become voters one right after the other.
func MayPromote(members []Member, wanted int) bool {
	voters, started := 0, 0
	for _, m := range members {
		switch {
		case !m.Learner:
			voters++
		case m.Name != "":
			started++
		}
	}
	return voters != 1 || wanted < 3 || started >= 2
}
