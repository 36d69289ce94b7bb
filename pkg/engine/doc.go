// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package engine decides what happens to a Rollout. Decide turns what is observed into what is to be
// written; the transition functions beside it (Promote, Abort, Retry, Created, Edited) turn what a
// person asks into a changed Rollout, or into a Refusal that says why not.
//
// A concept has a file: which pods a weight means (weights), how far to move now (move), steps and pauses
// (steps), which ReplicaSet is what (roles), what runs and how much of it (scale), revisions and their names
// (revision), verbs (transitions, state), what the status says (phase, conditions, deadline, status), and
// whether a store may be served at all (guard). Decide itself, in decide.go, reads as the order in which
// these rules apply. The package simulator beside runs it all in memory, and the invariants that hold
// whatever happens are the tests named TestInvariant.
//
// Everything here is a pure function: no client, no clock, no goroutine, no log line, no randomness.
// Time enters as an argument only. It may import the hub types, the API types of Kubernetes and
// apimachinery, and nothing else of this module.
package engine
