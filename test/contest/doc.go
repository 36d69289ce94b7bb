// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package contest has many callers promote one Rollout at the same moment, all expecting the same step, and judges
// what comes of it: one succeeds, everybody else is told 409, and the Rollout has moved by one step. The integration
// tests hold the server to that, the benchmark also takes the time. It imports the generated clients and what waits for
// Rollouts, and knows nothing of who runs the server.
package contest
