// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver wires the generic API server of Kubernetes to the storage of Rollouts: the scheme, the
// API group, the filters that are our own, and the hooks that start what runs beside the requests. It may
// import the registry, the controller and the owner guard.
package apiserver
