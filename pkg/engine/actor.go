// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "slices"

// Actor is who asks for something. The engine never finds out what somebody may do: if that matters, it
// answers with a Forbidden that names the Right, and is asked again once the Actor is known to have it.
type Actor struct {
	// Name is the user name.
	Name string
	// Groups are those that the user is in.
	Groups []string
	// Rights are what the Actor is known to be allowed.
	Rights []Right
}

// Right is something that the authorizer of the cluster allows or not, on the Rollout concerned.
type Right struct {
	// Verb is the verb to be allowed.
	Verb string
	// Subresource of rollouts that it is to be allowed on; empty for rollouts themselves.
	Subresource string
}

var (
	// RightOverride lets its holder skip, weaken and remove approvals.
	RightOverride = Right{Verb: "override"}
	// RightPromote lets its holder end a pause.
	RightPromote = Right{Verb: "create", Subresource: "promote"}
)

// String names a Right as in "create on rollouts/promote".
func (r Right) String() string {
	if r.Subresource == "" {
		return r.Verb + " on rollouts"
	}
	return r.Verb + " on rollouts/" + r.Subresource
}

func (a Actor) has(right Right) bool { return slices.Contains(a.Rights, right) }

// Forbidden is the answer to a request that the Actor may not make. It is served as 403 Forbidden.
type Forbidden struct {
	// Reason is the machine-readable cause: one of the Reason constants.
	Reason string
	// Message says why, and who could.
	Message string
	// Missing is the right that would help; nil if none would.
	Missing *Right
}

// Error makes a Forbidden an error.
func (f *Forbidden) Error() string { return f.Message }
