// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollouttree serves rollouttrees: a Rollout with its revisions, ReplicaSets and pods, for people to look
// at. Trees are computed from the caches of the controller and never stored; they can be got, listed and watched
// only, so that neither garbage collection nor the deletion of a namespace has anything to do with them.
//
// It may import the hub types, the engine and the libraries of the API server.
package rollouttree
