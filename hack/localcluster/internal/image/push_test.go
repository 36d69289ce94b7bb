// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sluice.dev/sluice/hack/localcluster/internal/sbom"
)

// small is an image of a small program that Go has built, so that there is a bill of materials of it.
func small(t *testing.T, names ...string) Image {
	t.Helper()
	image := Image{Names: names, Binaries: map[string]string{}, Version: "v1.2.3"}
	for _, arch := range []string{"amd64", "arm64"} {
		image.Binaries[arch] = filepath.Join(t.TempDir(), arch, "pause")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", image.Binaries[arch], "../../cmd/pause")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	return image
}

// A registry that lists referrers, and one that does not, give the bill of materials for each architecture.
func TestPush(t *testing.T) {
	for name, lists := range map[string]bool{"with referrers": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(lists)))
			defer server.Close()
			image := small(t, strings.TrimPrefix(server.URL, "http://")+"/team/pause:1")
			digest, err := image.Push(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkPushed(t, image, digest)
		})
	}
}

func checkPushed(t *testing.T, image Image, digest v1.Hash) {
	t.Helper()
	reference, err := name.ParseReference(image.Names[0])
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	if pushed, err := index.Digest(); err != nil || pushed != digest {
		t.Errorf("the digest of what was pushed is %s, not %s: %v", pushed, digest, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		want, err := image.Bill(m.Platform.Architecture)
		if err != nil {
			t.Fatal(err)
		}
		if got := attached(t, reference.Context().Digest(m.Digest.String())); !bytes.Equal(got, want) {
			t.Errorf("the bill for %s is %.200q", m.Platform, got)
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("it was pushed for %q", platforms)
	}
}

// attached is the only bill that refers to an image.
func attached(t *testing.T, subject name.Digest) []byte {
	t.Helper()
	referrers, err := remote.Referrers(subject)
	if err != nil {
		t.Fatal(err)
	}
	list, err := referrers.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Manifests) != 1 {
		t.Fatalf("to %s refer %+v", subject, list.Manifests)
	}
	artifact, err := remote.Image(subject.Context().Digest(list.Manifests[0].Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := artifact.Manifest(); err != nil || m.ArtifactType != sbom.MediaType || m.Subject.Digest.String() != subject.DigestStr() {
		t.Fatalf("to %s refers %+v: %v", subject, m, err)
	}
	layers, err := artifact.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("it has %d layers: %v", len(layers), err)
	}
	content, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPushUnderWhatIsNoName(t *testing.T) {
	if _, err := small(t, "Not A Name").Push(t.Context()); err == nil {
		t.Error("an image was pushed under a name that is none")
	}
}
