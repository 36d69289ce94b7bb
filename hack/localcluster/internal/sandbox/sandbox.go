// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sandbox gives the real node of the local control plane a world of its own: network, process ids,
// mounts, host name and cgroups that nobody outside sees, and that end with its first process. Programs are
// started in it by Enter, and reached from outside by a Dialer.
//
// It imports only the standard library, golang.org/x/sys and the netlink client.
package sandbox

import "path/filepath"

const (
	// NodeAddress is the address of the node. It is on an interface that exists in the sandbox only.
	NodeAddress = "10.77.0.1"
	// nodeNetwork is its network, serviceNetwork that of Services.
	nodeNetwork    = NodeAddress + "/24"
	serviceNetwork = "10.96.0.0/16"
)

// Sandbox is where a sandbox keeps what it needs.
type Sandbox struct {
	// Dir is the folder of the control plane, absolute. It stays visible in the sandbox.
	Dir string
	// Visible are further folders that must stay so, absolute.
	Visible []string
	// HostName is the name of the node.
	HostName string
	// Health is the address on which the first process answers that the sandbox is ready.
	Health string
}

// cgroupsFile records the cgroups of the sandbox as they are seen outside.
func cgroupsFile(dir string) string { return filepath.Join(dir, "run", "cgroups") }
