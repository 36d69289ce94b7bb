// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster lets programs work on the local control plane of hack/localcluster: start it, stop and
// start its components, run kubectl on it, and watch what happens there. The demonstration, the end-to-end
// tests and the benchmark share it. It drives the launcher as a process, so it may import client-go and
// the generated clients, but nothing of the launcher's module.
package cluster
