// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollouts holds the hub (internal) types of the API group sluice.dev: what the engine decides
// on and what storage converts to and from. Every served version converts to these, so that adding a
// version never touches the engine. It imports only apimachinery and the API types of Kubernetes.
//
// +k8s:deepcopy-gen=package
// +groupName=sluice.dev
package rollouts
