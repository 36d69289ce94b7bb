// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
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
	if err := Write(archive,
		Image{Names: []string{"example.com/server:1", "example.com/alias:1"}, Binary: binary, Authorities: true, Env: []string{"COLOR=blue"}, Title: "A server"},
		Image{Names: []string{"example.com/bare:1"}, Binary: binary}); err != nil {
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
		if m.MediaType != types.OCIManifestSchema1 {
			t.Errorf("the media type of %s is %s", m.Annotations["io.containerd.image.name"], m.MediaType)
		}
	}
	if want := []string{"example.com/server:1", "example.com/alias:1", "example.com/bare:1"}; !slices.Equal(names, want) {
		t.Errorf("the names are %q", names)
	}
	if manifest.Manifests[0].Digest != manifest.Manifests[1].Digest {
		t.Error("two names of an image are two images")
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/server"}) || !slices.Equal(c.Env, []string{"COLOR=blue"}) || config.OS != "linux" {
		t.Errorf("the image is run as %+v", c)
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

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	binary := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(binary, []byte("#!binary"), 0o700); err != nil {
		t.Fatal(err)
	}
	reference := strings.TrimPrefix(server.URL, "http://") + "/team/server:1"
	if err := (Image{Names: []string{reference}, Binary: binary}).Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(server.URL + "/v2/team/server/manifests/1")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != string(types.OCIManifestSchema1) {
		t.Errorf("the registry answers %s, a %s", response.Status, response.Header.Get("Content-Type"))
	}
	if err := (Image{Names: []string{"Not A Name"}, Binary: binary}).Push(t.Context()); err == nil {
		t.Error("an image was pushed under a name that is none")
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
