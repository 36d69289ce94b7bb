// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// kubernetes are the versions of Kubernetes that the host can have, by their minor versions, the oldest first. Each is
// the version of k8s.io/kubernetes in the go.mod of its module.
var kubernetes = []release{
	{minor: "1.34", version: "v1.34.4"},
	{minor: NewestHost, version: "v1.37.2"},
}

// NewestHost is the minor version of Kubernetes that the host has unless another one is chosen.
const NewestHost = "1.37"

// release is a version of Kubernetes.
type release struct{ minor, version string }

// flags are the linker flags of a binary made of it. Without its version clients refuse what the API server tells
// them.
func (r release) flags() string {
	major, minor, _ := strings.Cut(r.minor, ".")
	const variables = " -X k8s.io/component-base/version."
	return "-s -w" + variables + "gitVersion=" + r.version + variables + "gitMajor=" + major + variables + "gitMinor=" + minor +
		variables + "gitTreeState=clean"
}

// releaseOf finds the version of Kubernetes by its minor version.
func releaseOf(minor string) (release, error) {
	at := slices.IndexFunc(kubernetes, func(r release) bool { return r.minor == minor })
	if at < 0 {
		return release{}, fmt.Errorf("Kubernetes %q is not known; %s are", minor, strings.Join(HostVersions(), " and "))
	}
	return kubernetes[at], nil
}

// HostVersions are the minor versions of Kubernetes that the host can have.
func HostVersions() []string {
	var all []string
	for _, r := range kubernetes {
		all = append(all, r.minor)
	}
	return all
}

// HostDir is the folder, below that of all binaries, of those that make the host this version of Kubernetes:
// kube-apiserver, kube-controller-manager, kube-scheduler and kubectl. Those of the newest are beside all others.
func HostDir(minor string) string {
	if minor == NewestHost {
		return ""
	}
	return filepath.Join("hosts", minor)
}

// Host are the binaries of a host cluster of this version of Kubernetes, and the launcher itself. An older host takes
// etcd and the fake nodes from the newest.
func Host(minor string) ([]Binary, error) {
	chosen, err := releaseOf(minor)
	if err != nil {
		return nil, err
	}
	newest, err := releaseOf(NewestHost)
	if err != nil {
		return nil, err
	}
	all := []Binary{
		{Name: "kube", Module: "hack/localcluster", Package: "./cmd/kube", Flags: newest.flags(),
			Calls: []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd", "kwok", "kubelet", "kube-proxy"},
			Title: "Kubernetes, etcd and kwok", First: "The first build of Kubernetes, etcd and kwok takes about ten minutes on two cores; later ones take a second."},
		{Name: "localcluster", Module: "hack/localcluster", Package: "./cmd/localcluster", Title: "localcluster"},
	}
	if chosen == newest {
		return all, nil
	}
	return append(all, Binary{Name: filepath.Join(HostDir(minor), "kube"), Module: filepath.Join("hack", "hosts", minor), Package: ".", Flags: chosen.flags(), Pinned: true,
		Calls: []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"},
		Title: "Kubernetes " + minor, First: "The first build of Kubernetes " + minor + " takes about ten minutes on two cores; later ones take no time."}), nil
}
