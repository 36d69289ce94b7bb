// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// platforms are those that the image is built for here. Each takes minutes where nothing has been compiled yet.
var platforms = flag.String("platforms", "linux/"+runtime.GOARCH, "platforms that the tests build the image for")

// repository is the root of the source tree.
const repository = "../.."

// source copies the source tree to another folder, without what git ignores: neither the folder nor the history
// may be of any matter to the image.
func source(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "of", t.Name())
	list := exec.Command("git", "-C", repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(repository, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// made is what "make image" makes of a source tree: the contents of its files by name.
func made(t *testing.T, tree string) map[string][]byte {
	t.Helper()
	output := t.TempDir()
	launcher, err := filepath.Abs(filepath.Join(repository, "_local", "bin", "localcluster"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(launcher, "image", "--repository="+tree, "--bin-dir="+t.TempDir(), "--output="+output, "--platforms="+*platforms)
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("localcluster image: %v\n%s", err, said)
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(output)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(output, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// The same source makes the same image in any folder, which has what the Dockerfile puts into one.
func TestImage(t *testing.T) {
	first := made(t, source(t))
	t.Run("is the same from another folder", func(t *testing.T) {
		tree := source(t)
		second := made(t, tree)
		if a, b := slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(second)); !slices.Equal(a, b) {
			t.Fatalf("the files are %q, and then %q", a, b)
		}
		for name, content := range first {
			if !bytes.Equal(content, second[name]) {
				t.Errorf("%s has the digest %s, and then %s", name, digest(content), digest(second[name]))
			}
		}
	})
	t.Run("is for the platforms, with a bill of materials for each", func(t *testing.T) { checkBills(t, first) })
	t.Run("is what the Dockerfile makes", func(t *testing.T) { checkDockerfile(t, first["sluice-apiserver.tar"]) })
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// checkBills holds the bills of materials against what must be in them.
func checkBills(t *testing.T, files map[string][]byte) {
	for platform := range strings.SplitSeq(*platforms, ",") {
		name := "sluice-apiserver-" + strings.ReplaceAll(platform, "/", "-") + ".cdx.json"
		var bill struct {
			BOMFormat string
			Metadata  struct {
				Component struct{ Name, Version string }
			}
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(files[name], &bill); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if bill.BOMFormat != "CycloneDX" || bill.Metadata.Component.Name != "sluice.dev/sluice" || bill.Metadata.Component.Version == "" {
			t.Errorf("%s is a bill of %+v in the format %s", name, bill.Metadata.Component, bill.BOMFormat)
		}
		versions := map[string]string{}
		for _, c := range bill.Components {
			versions[c.Name] = c.Version
		}
		for _, module := range []string{"std", "k8s.io/apiserver", "go.etcd.io/etcd/server/v3", "golang.org/x/crypto/x509roots/fallback"} {
			if versions[module] == "" {
				t.Errorf("%s does not name %s", name, module)
			}
		}
		if want := strings.TrimPrefix(runtime.Version(), "go"); versions["std"] != want {
			t.Errorf("%s says that it was built by Go %s, which was %s", name, versions["std"], want)
		}
	}
}

// blobs are the files of an OCI archive by path.
func blobs(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
