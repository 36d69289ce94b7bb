// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// written is the archive of an image with two names, and one with one.
func written(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "server")
	if err := os.WriteFile(binary, []byte("#!binary"), 0o700); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "images.tar")
	one, two := map[string]string{"amd64": binary}, map[string]string{"arm64": binary, "amd64": binary}
	if err := Write(archive,
		Image{Names: []string{"example.com/server:1", "example.com/alias:1"}, Binaries: one, Authorities: true, Env: []string{"COLOR=blue"}, Title: "A server", Version: "v1"},
		Image{Names: []string{"example.com/bare:1"}, Binaries: one},
		Image{Names: []string{"example.com/both:1"}, Binaries: two}); err != nil {
		t.Fatal(err)
	}
	return archive
}

// unpacked is the OCI layout in an archive.
func unpacked(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestWrite(t *testing.T) {
	index := unpacked(t, written(t))
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range manifest.Manifests {
		names = append(names, m.Annotations["io.containerd.image.name"])
		if want := types.OCIManifestSchema1; m.MediaType != want && m.Annotations["io.containerd.image.name"] != "example.com/both:1" {
			t.Errorf("the media type of %s is %s", m.Annotations["io.containerd.image.name"], m.MediaType)
		}
	}
	if want := []string{"example.com/server:1", "example.com/alias:1", "example.com/bare:1", "example.com/both:1"}; !slices.Equal(names, want) {
		t.Errorf("the names are %q", names)
	}
	if manifest.Manifests[0].Digest != manifest.Manifests[1].Digest {
		t.Error("two names of an image are two images")
	}
	config := configOf(t, index, manifest.Manifests[0].Digest)
	if v := config.Config.Labels["org.opencontainers.image.version"]; v != "v1" {
		t.Errorf("the version is %q", v)
	}
	if c := config.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/server"}) || !slices.Equal(c.Env, []string{"COLOR=blue"}) || config.OS != "linux" {
		t.Errorf("the image is run as %+v", c)
	}
}

func configOf(t *testing.T, index v1.ImageIndex, digest v1.Hash) *v1.ConfigFile {
	t.Helper()
	image, err := index.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestWriteForSeveralArchitectures(t *testing.T) {
	index := unpacked(t, written(t))
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	last := manifest.Manifests[len(manifest.Manifests)-1]
	if last.MediaType != types.OCIImageIndex {
		t.Fatalf("its media type is %s", last.MediaType)
	}
	both, err := index.ImageIndex(last.Digest)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := both.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range inside.Manifests {
		platforms = append(platforms, m.Platform.String())
		if config := configOf(t, both, m.Digest); config.OS+"/"+config.Architecture != m.Platform.String() {
			t.Errorf("the image for %s says that it is for %s/%s", m.Platform, config.OS, config.Architecture)
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("it is for %q", platforms)
	}
}

func TestAnImageHoldsItsBinaryAndCertificatesOnly(t *testing.T) {
	index := unpacked(t, written(t))
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int][]string{
		0: {"etc/", "etc/ssl/", "etc/ssl/certs/", "etc/ssl/certs/ca-certificates.crt", "server"},
		2: {"server"},
	} {
		image, err := index.Image(manifest.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		content := mutate.Extract(image)
		defer content.Close()
		var found []string
		for r := tar.NewReader(content); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := header.Name
			if header.Typeflag == tar.TypeDir && name[len(name)-1] != '/' {
				name += "/"
			}
			found = append(found, name)
			if header.Name == certificates {
				bundled, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				if !x509.NewCertPool().AppendCertsFromPEM(bundled) {
					t.Error("there are no certificates")
				}
			}
			if header.Name == "server" && header.Mode != 0o755 {
				t.Errorf("the mode of the binary is %o", header.Mode)
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, want) {
			t.Errorf("image %d holds %q, not %q", i, found, want)
		}
	}
}

func TestTheSameBinariesMakeTheSameArchive(t *testing.T) {
	first, err := os.ReadFile(written(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(written(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("they differ")
	}
}
