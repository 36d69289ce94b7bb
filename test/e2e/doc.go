// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests Sluice on a real control plane: the one that the launcher in hack/localcluster starts,
// where the server runs under exactly the rights that artifacts/base ships. Each test has a namespace of its
// own and waits by watching. Whatever ends components runs after all other tests, in TestDisruption. The
// tests may import test/cluster, the libraries of Kubernetes and the served types; nothing of the server itself.
//
// SLUICE_E2E_DIR names the folder of a control plane to use, and to leave running, but not with its Rollouts:
// one of the tests wipes the store. Without it the tests start one in a folder of their own, and delete it.
package e2e
