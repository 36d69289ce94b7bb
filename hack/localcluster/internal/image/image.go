// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package image makes container images out of static binaries, and writes them as OCI archives, which every
// container engine can load and every registry client can push: without an engine, and from scratch, so that an
// image holds nothing but what is named here. The same binaries make the same image, bit by bit.
//
// It imports go-containerregistry, and the root certificates of Mozilla as a Go module.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nobody is the user that images run as: one that has no name, and no rights, anywhere.
const nobody = "65532:65532"

// certificates is where programs look for the authorities that they trust.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// Image is an image with one binary.
type Image struct {
	// Names are what it is called, with tag.
	Names []string
	// Binary is the path of the static binary on this machine. It becomes /NAME, and what is run.
	Binary string
	// Authorities adds the certificates of the public authorities.
	Authorities bool
	// Env are variables that are set in it, as NAME=VALUE.
	Env []string
	// Title says what it is.
	Title string
}

// Write writes an OCI archive of the images, whole or not at all.
func Write(archive string, images ...Image) (err error) {
	folder, err := os.MkdirTemp(filepath.Dir(archive), ".oci-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	written, err := layout.Write(filepath.Join(folder, "layout"), empty.Index)
	if err != nil {
		return err
	}
	for _, i := range images {
		built, err := i.build()
		if err != nil {
			return fmt.Errorf("image %s: %w", i.Names[0], err)
		}
		for _, name := range i.Names {
			// By the first, tools know its tag; by the second, containerd knows its whole name.
			named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name})
			if err := written.AppendImage(built, named); err != nil {
				return err
			}
		}
	}
	packed := filepath.Join(folder, "archive")
	if err := pack(filepath.Join(folder, "layout"), packed); err != nil {
		return err
	}
	return os.Rename(packed, archive)
}

// Push pushes the image under its names, as who is logged in by the configuration of Docker or Podman.
func (i Image) Push(ctx context.Context) error {
	built, err := i.build()
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Names[0], err)
	}
	for _, text := range i.Names {
		reference, err := name.ParseReference(text)
		if err != nil {
			return err
		}
		if err := remote.Write(reference, built, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return err
		}
	}
	return nil
}

// build makes the image: a layer with the binary and, if asked for, one with certificates.
func (i Image) build() (v1.Image, error) {
	content, err := os.ReadFile(i.Binary)
	if err != nil {
		return nil, err
	}
	program := filepath.Base(i.Binary)
	layers := []file{{path: program, mode: 0o755, content: content}}
	if i.Authorities {
		layers = append([]file{{path: certificates, mode: 0o644, content: authorities()}}, layers...)
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
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		Entrypoint: []string{"/" + program}, User: nobody, WorkingDir: "/", Env: i.Env,
		Labels: map[string]string{"org.opencontainers.image.title": i.Title, "org.opencontainers.image.licenses": "Apache-2.0"},
	}
	return mutate.ConfigFile(image, config)
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

// authorities are the certificates of Mozilla's list, as Go distributes it. Authorities that are trusted only up
// to some date or for some names cannot be told so in this format, and are left out.
func authorities() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return all.Bytes()
}

// pack writes the files of a folder into a tar.
func pack(folder, archive string) (err error) {
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	w := tar.NewWriter(out)
	err = fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: path.Clean(name), Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	return w.Close()
}
