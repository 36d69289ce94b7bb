// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"path/filepath"
	"runtime"
)

// Static is the folder, below that of all binaries, of those that go into images.
const Static = "static"

// containerdTags leave out what the real node does not use, and what would need cgo.
const containerdTags = "no_btrfs,no_devmapper,no_zfs,urfave_cli_no_docs,osusergo,netgo"

// Runc is the binary that takes a C compiler and libseccomp to be built.
func Runc() Binary {
	// Without seccomp, which needs cgo, it starts no container of a cluster.
	return Binary{Name: "runc", Module: "hack/node/runc", Package: "github.com/opencontainers/runc", Flags: "-s -w", Tags: "seccomp,urfave_cli_no_docs", Pinned: true, Title: "runc"}
}

// Node are the binaries of a real node, and those in the images that it runs. Their versions are in the go.mod
// files of the folders.
func Node(ctx context.Context, repository string) []Binary {
	const containerd, cni = "github.com/containerd/containerd/v2/cmd/", "github.com/containernetworking/plugins/plugins/"
	all := []Binary{
		{Name: "containerd", Module: "hack/node/containerd", Package: containerd + "containerd", Flags: "-s -w", Tags: containerdTags, Static: true, Pinned: true, Title: "containerd",
			First: "The first build of containerd, runc, the CNI plugins and CoreDNS takes about seven minutes on two cores; later ones take a second."},
		{Name: "ctr", Module: "hack/node/containerd", Package: containerd + "ctr", Flags: "-s -w", Tags: containerdTags, Static: true, Pinned: true, Title: "ctr"},
		{Name: "containerd-shim-runc-v2", Module: "hack/node/containerd", Package: containerd + "containerd-shim-runc-v2", Flags: "-s -w", Tags: containerdTags + ",no_grpc", Static: true, Pinned: true, Title: "containerd's shim"},
		Runc(),
		{Name: Static + "/coredns", Module: "hack/node/coredns", Package: ".", Flags: "-s -w", Static: true, Pinned: true, Title: "CoreDNS"},
		{Name: Static + "/pause", Module: "hack/localcluster", Package: "./cmd/pause", Flags: "-s -w", Static: true, Title: "pause"},
	}
	for _, plugin := range []string{"main/bridge", "main/loopback", "ipam/host-local", "meta/portmap"} {
		all = append(all, Binary{Name: "cni/" + filepath.Base(plugin), Module: "hack/node/cni", Package: cni + plugin, Flags: "-s -w", Static: true, Pinned: true, Title: "the CNI plugin " + filepath.Base(plugin)})
	}
	all = append(all, Binary{Name: Static + "/traffic", Module: ".", Package: "./test/traffic", Flags: "-s -w", Static: true, Title: "the load on the demo application"})
	all = append(all, Images(ctx, repository, runtime.GOARCH)...)
	return append(all, server(NewerServer, runtime.GOARCH, newerVersion))
}

// NewerServer is the binary of the server to which tests upgrade, and newerVersion is what that says that it is.
const (
	NewerServer  = "sluice-apiserver-newer"
	newerVersion = "v99.0.0-newer"
)

// server is the server for an image, which says that it is of this version.
func server(name, arch, version string) Binary {
	return Binary{Name: ForImage(name, arch), Module: ".", Package: "./cmd/apiserver", Static: true, Arch: arch, Title: name + " for images, " + arch,
		Flags: "-s -w -X sluice.dev/sluice/pkg/version.Version=" + version}
}

// Images are the binaries of our own images, for these architectures.
func Images(ctx context.Context, repository string, architectures ...string) []Binary {
	var all []Binary
	for _, arch := range architectures {
		all = append(all, server("sluice-apiserver", arch, Version(ctx, repository)),
			Binary{Name: ForImage("demoapp", arch), Module: ".", Package: "./test/demoapp", Flags: "-s -w", Static: true, Arch: arch, Title: "the demo application, " + arch})
	}
	return all
}

// ForImage is the path of a binary of our own images, below the folder of all binaries.
func ForImage(name, arch string) string { return filepath.Join(Static, "linux-"+arch, name) }
