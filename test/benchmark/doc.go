// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command benchmark does the same work with Deployments and with Rollouts on a local control plane and
// holds what it measures against the goals of the project:
//
//	go run ./test/benchmark
//
// The work is one update of many workloads, the Rollouts in the steps 20, 40, 60, 80 without pauses; and,
// for Rollouts alone, many promotes. It starts a control plane of its own, unless it is told to use one.
// docs/benchmarks.md is written by it too, with --markdown.
package main
