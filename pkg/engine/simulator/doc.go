// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulator is a cluster of one Rollout in memory: a store with resourceVersions, ReplicaSets that
// make and take pods, pods that take time to become available, and a clock that moves only when told. It
// runs the same engine.Decide as the controller, so that what a Rollout will do can be seen without a
// cluster, and so that the invariants of the engine can be tested against everything that can go wrong.
//
// It may import the engine, the hub types, the API types of Kubernetes and apimachinery.
package simulator
