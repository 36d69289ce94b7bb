// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"sluice.dev/sluice/hack/localcluster/internal/build"
	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/image"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
)

// colours are the tags of the demo application.
var colours = []string{"blue", "yellow", "red", "green", "orange", "purple", "bad-red", "slow-yellow"}

// demoNames are the names of the demo application: its own, and that of the one in the example, which plays the same
// part and cannot be pulled into the sandbox.
func demoNames(colour string) []string {
	return []string{"sluice.dev/demoapp:" + colour, "docker.io/argoproj/rollouts-demo:" + colour}
}

// node is the architecture of the only node that images are for here.
var node = []string{runtime.GOARCH}

// ours is a binary of our own, for each architecture.
func ours(binDir, name string, architectures []string) map[string]string {
	binaries := map[string]string{}
	for _, arch := range architectures {
		binaries[arch] = filepath.Join(binDir, build.ForImage(name, arch))
	}
	return binaries
}

// serverBinary is the server as it is in its image.
const serverBinary = "sluice-apiserver"

// serverImage is the image of Sluice, with this binary.
func serverImage(binDir, binary, version string, architectures []string) image.Image {
	return image.Image{Names: []string{component.ServerImage}, Binaries: ours(binDir, binary, architectures), Authorities: true, Title: "Sluice", Version: version}
}

// archives are the archives of our own images, by the names of their files.
func archives(binDir, version string, architectures []string) map[string][]image.Image {
	demo := make([]image.Image, 0, len(colours))
	for _, colour := range colours {
		demo = append(demo, image.Image{Names: demoNames(colour), Binaries: ours(binDir, "demoapp", architectures), Env: []string{"COLOR=" + colour}, Title: "Demo application, " + colour})
	}
	return map[string][]image.Image{
		"demoapp.tar":          demo,
		"sluice-apiserver.tar": {serverImage(binDir, serverBinary, version, architectures)},
	}
}

// nodeArchives are those that only the real node needs, besides.
func nodeArchives(binDir, version string) map[string][]image.Image {
	only := func(name string) map[string]string {
		return map[string]string{runtime.GOARCH: filepath.Join(binDir, build.Static, name)}
	}
	newer := serverImage(binDir, build.NewerServer, version, node)
	newer.Names, newer.Title = []string{component.NewerImage}, "Sluice, newer"
	return map[string][]image.Image{
		"newer.tar":   {newer},
		"traffic.tar": {{Names: []string{component.TrafficImage}, Binaries: only("traffic"), Title: "The load on the demo application"}},
		"node.tar": {
			{Names: []string{component.PauseImage}, Binaries: only("pause"), Title: "The first process of pods"},
			{Names: []string{component.CoreDNSImage}, Binaries: only("coredns"), Title: "CoreDNS"},
		},
	}
}

// BuildImages builds our own images for these architectures, and writes their archives into the folder, and the bills
// of materials of Sluice beside them. It returns the paths of all.
func BuildImages(ctx context.Context, options Options, folder string, architectures []string, reporter *progress.Reporter) ([]string, error) {
	builder := &build.Builder{Repository: options.Repository, Dir: options.BinDir, Reporter: reporter}
	if err := builder.Build(ctx, build.Images(ctx, options.Repository, architectures...)); err != nil {
		return nil, err
	}
	version := build.Version(ctx, options.Repository)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var paths []string
	for name, images := range archives(options.BinDir, version, architectures) {
		path := filepath.Join(folder, name)
		if err := image.Write(path, images...); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, arch := range architectures {
		bill, err := serverImage(options.BinDir, serverBinary, version, architectures).Bill(arch)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(folder, "sluice-apiserver-linux-"+arch+".cdx.json")
		if err := os.WriteFile(path, bill, 0o644); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// PushServer pushes the image of Sluice, which has been built, under a name of its own, and returns its digest.
func PushServer(ctx context.Context, options Options, name string, architectures []string) (string, error) {
	server := serverImage(options.BinDir, serverBinary, build.Version(ctx, options.Repository), architectures)
	server.Names = []string{name}
	digest, err := server.Push(ctx)
	return digest.String(), err
}

// images brings the archives of all images that a real node needs up to date.
func images(binDir, version string) error {
	all := archives(binDir, version, node)
	maps.Copy(all, nodeArchives(binDir, version))
	return writeArchives(component.Layout{BinDir: binDir}.Images(), all)
}

// writeArchives writes the archives that are older than what goes into them.
func writeArchives(folder string, all map[string][]image.Image) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, images := range all {
		path := filepath.Join(folder, name)
		stale, err := outdated(path, images)
		if err != nil {
			return err
		}
		if stale {
			if err := image.Write(path, images...); err != nil {
				return err
			}
		}
	}
	return nil
}

// outdated is true if an archive does not exist, or is not newer than each of the binaries in it, or than this
// program, which says what the images are like.
func outdated(archive string, images []image.Image) (bool, error) {
	written, err := os.Stat(archive)
	if os.IsNotExist(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	inputs := []string{self}
	for _, i := range images {
		inputs = slices.AppendSeq(inputs, maps.Values(i.Binaries))
	}
	for _, input := range inputs {
		info, err := os.Stat(input)
		if err != nil {
			return false, err
		}
		if !written.ModTime().After(info.ModTime()) {
			return true, nil
		}
	}
	return false, nil
}
