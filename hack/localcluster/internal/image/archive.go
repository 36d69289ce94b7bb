// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

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
		for _, name := range i.Names {
			// By the first, tools know its tag; by the second, containerd knows its whole name.
			named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name})
			if err := i.appendTo(written, named); err != nil {
				return fmt.Errorf("image %s: %w", name, err)
			}
		}
	}
	packed := filepath.Join(folder, "archive")
	if err := pack(filepath.Join(folder, "layout"), packed); err != nil {
		return err
	}
	return os.Rename(packed, archive)
}

// appendTo adds the image to a layout.
func (i Image) appendTo(written layout.Path, named layout.Option) error {
	if all := i.architectures(); len(all) == 1 {
		built, err := i.build(all[0])
		if err != nil {
			return err
		}
		return written.AppendImage(built, named)
	}
	index, err := i.index()
	if err != nil {
		return err
	}
	return written.AppendIndex(index, named)
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
