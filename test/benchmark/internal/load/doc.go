// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package load puts the same work on a control plane as Deployments and as Rollouts and observes, as a
// client of the API, when it is done. It imports client-go, the generated client of Rollouts, and the
// package plane for what the processes have used meanwhile.
package load
