// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"os"
	"path/filepath"

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

// archives are the archives of images, by the names of their files.
func archives(binDir string) map[string][]image.Image {
	static := func(name string) string { return filepath.Join(binDir, build.Static, name) }
	demo := make([]image.Image, 0, len(colours))
	for _, colour := range colours {
		demo = append(demo, image.Image{Names: demoNames(colour), Binary: static("demoapp"), Env: []string{"COLOR=" + colour}, Title: "Demo application, " + colour})
	}
	return map[string][]image.Image{
		"demoapp.tar":          demo,
		"sluice-apiserver.tar": {{Names: []string{component.ServerImage}, Binary: static("sluice-apiserver"), Authorities: true, Title: "Sluice"}},
		"newer.tar":            {{Names: []string{component.NewerImage}, Binary: static("sluice-apiserver-newer"), Authorities: true, Title: "Sluice, newer"}},
		"traffic.tar":          {{Names: []string{component.TrafficImage}, Binary: static("traffic"), Title: "The load on the demo application"}},
		"node.tar": {
			{Names: []string{component.PauseImage}, Binary: static("pause"), Title: "The first process of pods"},
			{Names: []string{component.CoreDNSImage}, Binary: static("coredns"), Title: "CoreDNS"},
		},
	}
}

// BuildImages builds our own images, and writes their archives into the folder.
func BuildImages(ctx context.Context, options Options, folder string, reporter *progress.Reporter) ([]string, error) {
	builder := &build.Builder{Repository: options.Repository, Dir: options.BinDir, Reporter: reporter}
	if err := builder.Build(ctx, build.Images(ctx, options.Repository)); err != nil {
		return nil, err
	}
	return writeArchives(options.BinDir, folder, "sluice-apiserver.tar", "demoapp.tar")
}

// PushServer pushes the image of Sluice, which has been built, under a name of its own.
func PushServer(ctx context.Context, binDir, name string) error {
	server := archives(binDir)["sluice-apiserver.tar"][0]
	server.Names = []string{name}
	return server.Push(ctx)
}

// images brings the archives of all images that a real node needs up to date.
func images(binDir string) error {
	_, err := writeArchives(binDir, component.Layout{BinDir: binDir}.Images(), "node.tar", "sluice-apiserver.tar", "newer.tar", "demoapp.tar", "traffic.tar")
	return err
}

// writeArchives writes the archives that are older than what goes into them, and returns the paths of all.
func writeArchives(binDir, folder string, names ...string) ([]string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	all := archives(binDir)
	paths := make([]string, 0, len(names))
	for _, name := range names {
		path := filepath.Join(folder, name)
		paths = append(paths, path)
		stale, err := outdated(path, all[name])
		if err != nil {
			return nil, err
		}
		if stale {
			if err := image.Write(path, all[name]...); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
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
		inputs = append(inputs, i.Binary)
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
