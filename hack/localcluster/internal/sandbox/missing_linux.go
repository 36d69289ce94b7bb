// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"strings"

	"golang.org/x/sys/unix"
)

// capable is true if this process may make namespaces, mounts and interfaces.
func capable() bool { return hasCapability(unix.CAP_SYS_ADMIN) && hasCapability(unix.CAP_NET_ADMIN) }

// hasCapability reads the effective set of this process.
func hasCapability(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// ownControllers are those of the hierarchies that this process is in.
func ownControllers() ([]string, error) {
	mounted, err := ownHierarchies()
	if err != nil {
		return nil, err
	}
	var have []string
	for _, h := range mounted {
		have = append(have, strings.Split(h.options, ",")...)
	}
	return have, nil
}
