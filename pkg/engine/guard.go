// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// StoreRecord says which store a store is, and how far it is known to have come. One copy is kept in
// the store itself, the other in the host cluster, where a wiped disk does not take it along.
type StoreRecord struct {
	// Identity is a random name given to a store once.
	Identity string
	// Revision is a revision of the store of which it is certain that this very store contains
	// everything up to it. Unit: etcd revisions, the resourceVersion of API objects.
	Revision uint64
}

// OwnerOfReplicaSets is a Rollout as the owner references of ReplicaSets in the host name it. Such a
// reference is a claim: anybody who may write a ReplicaSet may have made it up.
type OwnerOfReplicaSets struct {
	UID             types.UID
	Namespace, Name string
	// ReplicaSets are the names of those that claim this owner.
	ReplicaSets []string
}

// StoreEvidence is all that is known when it has to be decided whether a store may answer.
type StoreEvidence struct {
	// Store is the record in the store; nil if it has none.
	Store *StoreRecord
	// Mirror is the record in the host; nil if it has none.
	Mirror *StoreRecord

	// HostSeen is true if Owners, Live and Buried were looked up. It is not needed when the records
	// settle the case.
	HostSeen bool
	// Owners are the Rollouts that ReplicaSets in the host name as owners; ReplicaSets that are being
	// deleted do not count.
	Owners []OwnerOfReplicaSets
	// Live are the Rollouts in the store, by UID, as namespace/name.
	Live map[types.UID]string
	// Buried are Rollouts that the store knows to have been deleted on purpose.
	Buried map[types.UID]bool
}

// StoreVerdict is whether a store may answer, and if not, why.
type StoreVerdict struct {
	// Serve is true if the store may answer requests.
	Serve bool
	// Record is true if the host has no record yet and is to get one before the first answer.
	Record bool
	// Look is true if the records do not settle the case and the evidence lacks what the host and
	// the store contain. Serve is false then.
	Look bool
	// Missing are the Rollouts that ReplicaSets name and that the store neither has nor knows to be
	// deleted, in the order of their names.
	Missing []OwnerOfReplicaSets
	// Reason is one sentence that says why the store may not answer.
	Reason string
}

// JudgeStore decides whether a store may answer. The garbage collector of the host deletes
// ReplicaSets whose owner is not found, and a store from yesterday would have its controller roll
// pods back, so a store that lost writes must never answer.
//
// Two records that agree settle it: whatever owners ReplicaSets claim, this is the store that the
// host knows, with everything that the host has seen of it. Two records that do not agree settle it
// as well, and the ReplicaSets only name what is missing. They decide by themselves only where the
// host has no record.
func JudgeStore(e StoreEvidence) StoreVerdict {
	if e.Mirror != nil && e.Store != nil && e.Store.covers(*e.Mirror) {
		return StoreVerdict{Serve: true}
	}
	if !e.HostSeen {
		return StoreVerdict{Look: true, Reason: "it is not known yet whether this is the store that the host cluster knows"}
	}
	missing := missingOwners(e)
	switch {
	case e.Mirror == nil && len(missing) == 0:
		return StoreVerdict{Serve: true, Record: true}
	case e.Mirror == nil:
		return StoreVerdict{Missing: missing, Reason: "the host cluster has no record of this store, and has ReplicaSets of Rollouts that the store does not have"}
	case e.Store == nil:
		return StoreVerdict{Missing: missing, Reason: fmt.Sprintf("the store is empty or was wiped: it is not the store %s that the host cluster knows", e.Mirror.Identity)}
	case e.Store.Identity != e.Mirror.Identity:
		return StoreVerdict{Missing: missing, Reason: fmt.Sprintf("the store %s is not the store %s that the host cluster knows", e.Store.Identity, e.Mirror.Identity)}
	default:
		return StoreVerdict{Missing: missing, Reason: fmt.Sprintf("the store is an older copy: it ends at revision %d, and the host cluster knows it up to revision %d", e.Store.Revision, e.Mirror.Revision)}
	}
}

// covers is true if a store with this record contains all that another record of the same store
// vouches for.
func (r StoreRecord) covers(other StoreRecord) bool {
	return r.Identity == other.Identity && r.Revision >= other.Revision
}

func missingOwners(e StoreEvidence) []OwnerOfReplicaSets {
	var missing []OwnerOfReplicaSets
	for _, o := range e.Owners {
		if _, live := e.Live[o.UID]; !live && !e.Buried[o.UID] {
			missing = append(missing, o)
		}
	}
	slices.SortFunc(missing, func(a, b OwnerOfReplicaSets) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return missing
}

// namedMissing is how many missing Rollouts a message names.
const namedMissing = 20

// Message is the verdict for people: why the store does not answer, what is missing, and what to do.
// It is empty if the store may answer.
func (v StoreVerdict) Message() string {
	if v.Serve {
		return ""
	}
	if v.Look {
		return v.Reason
	}
	var b strings.Builder
	b.WriteString(v.Reason)
	if n := len(v.Missing); n > 0 {
		named := make([]string, 0, namedMissing)
		for _, o := range v.Missing[:min(n, namedMissing)] {
			named = append(named, fmt.Sprintf("%s/%s (uid %s)", o.Namespace, o.Name, o.UID))
		}
		fmt.Fprintf(&b, "; missing Rollouts: %s", strings.Join(named, ", "))
		if n > namedMissing {
			fmt.Fprintf(&b, " and %d more", n-namedMissing)
		}
	}
	b.WriteString("; nothing is answered so that no pod is deleted or rolled back: restore the newest copy of the store; then, or if there is none, run sluice-apiserver snapshot rebuild, which makes missing Rollouts anew from their ReplicaSets; or start the server once with --accept-data-loss, which first detaches the ReplicaSets of missing Rollouts")
	return b.String()
}
