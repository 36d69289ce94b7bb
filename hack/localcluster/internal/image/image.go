// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package image makes container images out of static binaries, and writes them as OCI archives, which every
// container engine can load and every registry client can push: without an engine, and from scratch, so that an
// image holds nothing but what is named here. The same binaries make the same image, bit by bit.
//
// It imports go-containerregistry, and the packages authorities and sbom.
package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice.dev/sluice/hack/localcluster/internal/authorities"
	"sluice.dev/sluice/hack/localcluster/internal/sbom"
)

// nobody is the user that images run as: one that has no name, and no rights, anywhere.
const nobody = "65532:65532"

// certificates is where programs look for the authorities that they trust.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// Image is an image with one binary.
type Image struct {
	// Names are what it is called, with tag.
	Names []string
	// Binaries are the paths, on this machine, of the static binary for each architecture, which is named as Go
	// names it: amd64, arm64. All have the same file name, NAME; it becomes /NAME, and what is run. With one of them
	// the image is one for that architecture only; with several it is an index, in alphabetical order.
	Binaries map[string]string
	// Authorities adds the certificates of the public authorities.
	Authorities bool
	// Env are variables that are set in it, as NAME=VALUE.
	Env []string
	// Title says what it is, Version which version of that; empty if it has none.
	Title, Version string
}

// architectures are those that it is made for.
func (i Image) architectures() []string { return slices.Sorted(maps.Keys(i.Binaries)) }

// index is the image for all architectures.
func (i Image) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range i.architectures() {
		built, err := i.build(architecture)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: built, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index, nil
}

// build makes the image for one architecture: a layer with the binary and, if asked for, one with certificates.
func (i Image) build(architecture string) (v1.Image, error) {
	content, err := os.ReadFile(i.Binaries[architecture])
	if err != nil {
		return nil, err
	}
	program := filepath.Base(i.Binaries[architecture])
	layers := []file{{path: program, mode: 0o755, content: content}}
	if i.Authorities {
		layers = append([]file{{path: certificates, mode: 0o644, content: authorities.PEM()}}, layers...)
	}
	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, f := range layers {
		layer, err := f.layer()
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	config.Config = v1.Config{
		Entrypoint: []string{"/" + program}, User: nobody, WorkingDir: "/", Env: i.Env, Labels: i.labels(),
	}
	return mutate.ConfigFile(image, config)
}

func (i Image) labels() map[string]string {
	labels := map[string]string{"org.opencontainers.image.title": i.Title, "org.opencontainers.image.licenses": "Apache-2.0"}
	if i.Version != "" {
		labels["org.opencontainers.image.version"] = i.Version
	}
	return labels
}

// Bill is the bill of materials of the image for one architecture, in the format CycloneDX.
func (i Image) Bill(architecture string) ([]byte, error) {
	binary, there := i.Binaries[architecture]
	if !there {
		return nil, errors.New("the image is not made for " + architecture)
	}
	bill := sbom.Bill{Binary: binary, Version: i.Version}
	if i.Authorities {
		list, err := authorities.Module()
		if err != nil {
			return nil, err
		}
		bill.Beside = []*debug.Module{list}
	}
	return bill.JSON()
}

// file is a file of a layer.
type file struct {
	path    string
	mode    int64
	content []byte
}

// layer is one with this file only, and the folders that lead to it. It has no times: those of a build are not
// part of what was built.
func (f file) layer() (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for i := 1; i < len(f.path); i++ {
		if f.path[i] == '/' {
			if err := w.WriteHeader(&tar.Header{Name: f.path[:i+1], Mode: 0o755, Typeflag: tar.TypeDir}); err != nil {
				return nil, err
			}
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(f.content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil })
}
