// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubectl is the kubectl plugin: one file for each command (two for the verbs), on cobra and the connection flags of
// cli-runtime. Commands read through the generated clients, act through the subresources of Rollouts, and
// never write a status. What they print is laid out in view and kept current by live; they decide nothing
// that the server could decide. migrate asks the engine, which the server asks too, whether what Argo Rollouts left is
// what would be run. It imports the API types, pkg/engine, pkg/generated and pkg/version.
package kubectl
