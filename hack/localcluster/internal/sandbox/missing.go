// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// machine is what can be asked of the one that a real node is to run on.
type machine struct {
	// os is its operating system, as Go calls it, and uid who this process runs as.
	os  string
	uid int
	// capable says whether this process may do all that a sandbox is made by.
	capable func() bool
	// filesystems is what the kernel says of those that it knows (/proc/filesystems); empty if it does not say.
	filesystems func() string
	// controllers are those that have a cgroup hierarchy of version 1.
	controllers func() ([]string, error)
	// find looks for a program.
	find func(name string) error
	// preprocess has the C compiler read a source of one line.
	preprocess func(compiler, source string) error
	// compiler is the C compiler that the go command calls.
	compiler string
}

// Missing says what keeps a real node from running on this machine; nothing if it can. Each entry tells what to do.
// If runc is not built yet, what it is built by is asked for as well.
func Missing(runcIsBuilt bool) []string { return thisMachine().missing(runcIsBuilt) }

// thisMachine is the one that this process runs on.
func thisMachine() machine {
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "gcc"
	}
	return machine{
		os: runtime.GOOS, uid: os.Geteuid(), capable: capable, controllers: ownControllers, compiler: compiler,
		filesystems: func() string {
			known, err := os.ReadFile("/proc/filesystems")
			if err != nil {
				return ""
			}
			return string(known)
		},
		find: func(name string) error {
			_, err := exec.LookPath(name)
			return err
		},
		preprocess: func(compiler, source string) error {
			words := strings.Fields(compiler)
			cmd := exec.Command(words[0], append(words[1:], "-E", "-")...)
			cmd.Stdin = strings.NewReader(source + "\n")
			return cmd.Run()
		},
	}
}

func (m machine) missing(runcIsBuilt bool) []string {
	if m.os != "linux" {
		// Nothing that could be installed would help.
		return []string{"Linux: containers are made by its kernel"}
	}
	if m.uid != 0 {
		// What else is missing cannot be told without it.
		return []string{"root: it makes namespaces, mounts and cgroups; run it as root"}
	}
	var missing []string
	if !m.capable() {
		missing = append(missing, "the capabilities SYS_ADMIN and NET_ADMIN: run it outside of a container, or in a privileged one")
	}
	if known := m.filesystems(); known != "" && !strings.Contains(known, "\toverlay\n") {
		missing = append(missing, "the file system overlay: modprobe overlay")
	}
	missing = append(missing, m.missingControllers()...)
	if m.find("nft") != nil {
		missing = append(missing, "nft, by which kube-proxy makes Services: apt-get install nftables")
	}
	if !runcIsBuilt {
		missing = append(missing, m.missingToBuild()...)
	}
	return missing
}

// needed are the controllers that the kubelet cannot do without.
var needed = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids"}

func (m machine) missingControllers() []string {
	have, err := m.controllers()
	if err != nil {
		return []string{fmt.Sprintf("the cgroups of this process: %v", err)}
	}
	var lacking []string
	for _, controller := range needed {
		if !slices.Contains(have, controller) {
			lacking = append(lacking, controller)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("cgroup hierarchies of version 1 with the controllers %s: boot with systemd.unified_cgroup_hierarchy=0, since machines with version 2 only are not supported yet", strings.Join(lacking, ", "))}
}

// missingToBuild is what runc is built by: it is linked with libseccomp, which pkg-config finds.
func (m machine) missingToBuild() []string {
	if m.find(strings.Fields(m.compiler)[0]) != nil {
		return []string{m.compiler + ", a C compiler, and the headers of libseccomp, by which runc is built: apt-get install gcc libseccomp-dev pkg-config"}
	}
	var missing []string
	if m.preprocess(m.compiler, "#include <seccomp.h>") != nil {
		missing = append(missing, "the headers of libseccomp, which runc is built with: apt-get install libseccomp-dev libc6-dev")
	}
	if m.find("pkg-config") != nil {
		missing = append(missing, "pkg-config, by which libseccomp is found when runc is built: apt-get install pkg-config")
	}
	return missing
}
