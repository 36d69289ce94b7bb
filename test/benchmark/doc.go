// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command benchmark measures Sluice on a local control plane, holds the figures against the goals of the project, and
// compares them with those of a peer that does the same work in the same run:
//
//	go run ./test/benchmark
//
// The parts are: one update of many workloads, Rollouts in the steps 20, 40, 60, 80 without pauses and Deployments, and
// many promotes; many promotes of one step at the same moment; many verbs on many Rollouts; one tree in a large
// cluster; and 10,000 Rollouts that nothing happens to. --only measures some of them. It starts a control plane of its own, unless it is told to use one.
// docs/benchmarks.md is written by it too, with --markdown.
package main
