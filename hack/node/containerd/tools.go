// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package containerd pins the container runtime of the real node of the local control plane.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
