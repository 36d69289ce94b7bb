// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Missing says what keeps a real node from running on this machine; nothing if it can. Each entry tells what to do.
func Missing() []string {
	if os.Geteuid() != 0 {
		// What else is missing cannot be told without it.
		return []string{"root: it makes namespaces, mounts and cgroups; run it as root"}
	}
	var missing []string
	if !hasCapability(unix.CAP_SYS_ADMIN) || !hasCapability(unix.CAP_NET_ADMIN) {
		missing = append(missing, "the capabilities SYS_ADMIN and NET_ADMIN: run it outside of a container, or in a privileged one")
	}
	if filesystems, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(filesystems), "\toverlay\n") {
		missing = append(missing, "the file system overlay: modprobe overlay")
	}
	missing = append(missing, missingControllers()...)
	if _, err := exec.LookPath("nft"); err != nil {
		missing = append(missing, "nft, by which kube-proxy makes Services: apt-get install nftables")
	}
	return missing
}

// controllers are those that the kubelet cannot do without.
var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids"}

func missingControllers() []string {
	mounted, err := ownHierarchies()
	if err != nil {
		return []string{fmt.Sprintf("the cgroups of this process: %v", err)}
	}
	var have []string
	for _, h := range mounted {
		have = append(have, strings.Split(h.options, ",")...)
	}
	var lacking []string
	for _, controller := range controllers {
		if !slices.Contains(have, controller) {
			lacking = append(lacking, controller)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("cgroup hierarchies of version 1 with the controllers %s: boot with systemd.unified_cgroup_hierarchy=0, since machines with version 2 only are not supported yet", strings.Join(lacking, ", "))}
}

// hasCapability reads the effective set of this process.
func hasCapability(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}
