// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package cni pins the plugins that give pods of the real node of the local control plane their network.
package cni

import (
	_ "github.com/containernetworking/plugins/plugins/ipam/host-local"
	_ "github.com/containernetworking/plugins/plugins/main/bridge"
	_ "github.com/containernetworking/plugins/plugins/main/loopback"
	_ "github.com/containernetworking/plugins/plugins/meta/portmap"
)
