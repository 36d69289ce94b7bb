// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout is the controller of Rollouts: the thin shell around pkg/engine. It watches
// Rollouts, ReplicaSets, pods and Services, shows what it sees to engine.Decide, writes what that decided, and
// makes sure that of all replicas of the server only the leader writes. It decides nothing itself.
//
// It may import pkg/apis, pkg/engine, pkg/generated and client libraries; never pkg/registry,
// pkg/apiserver or pkg/cmd.
package rollout
