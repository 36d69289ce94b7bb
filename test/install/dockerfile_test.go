// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// config is how an image is run.
type config struct {
	User, WorkingDir string
	Entrypoint       []string
	Env              []string
	Labels           map[string]string
}

// manifest is an index, or the manifest of an image.
type manifest struct {
	Manifests []descriptor
	Config    descriptor
	Layers    []descriptor
}

type descriptor struct {
	MediaType, Digest string
	Platform          struct{ OS, Architecture string }
}

// built is an image of an OCI archive: how it is run, and its files by path.
type built struct {
	config config
	files  map[string][]byte
}

// imagesIn are the images of an archive by architecture.
func imagesIn(t *testing.T, archive []byte) map[string]built {
	t.Helper()
	all := blobs(t, archive)
	read := func(digest string, into any) {
		t.Helper()
		if err := json.Unmarshal(all["blobs/"+strings.ReplaceAll(digest, ":", "/")], into); err != nil {
			t.Fatalf("%s: %v", digest, err)
		}
	}
	var top manifest
	if err := json.Unmarshal(all["index.json"], &top); err != nil {
		t.Fatal(err)
	}
	pending, images := top.Manifests, map[string]built{}
	for len(pending) > 0 {
		var m manifest
		read(pending[0].Digest, &m)
		pending = append(pending[1:], m.Manifests...)
		if len(m.Layers) == 0 {
			continue
		}
		var c struct {
			Architecture string
			Config       config
		}
		read(m.Config.Digest, &c)
		image := built{config: c.Config, files: map[string][]byte{}}
		for _, layer := range m.Layers {
			maps.Copy(image.files, unpack(t, all["blobs/"+strings.ReplaceAll(layer.Digest, ":", "/")]))
		}
		images[c.Architecture] = image
	}
	return images
}

// unpack are the files of a layer.
func unpack(t *testing.T, layer []byte) map[string][]byte {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(plain); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if files["/"+header.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkDockerfile does what the Dockerfile says, with the Go of this machine, as far as it can be done without a
// container engine, and compares the outcome with the images of the archive.
func checkDockerfile(t *testing.T, archive []byte) {
	images := imagesIn(t, archive)
	if got, want := len(images), strings.Count(*platforms, ",")+1; got != want {
		t.Fatalf("the archive has images for %v", slices.Sorted(maps.Keys(images)))
	}
	build, last := stages(t)
	if last.BaseName != "scratch" {
		t.Errorf("the image is based on %s", last.BaseName)
	}
	for arch, image := range images {
		files := run(t, build, arch)
		got := built{files: map[string][]byte{}, config: config{Labels: map[string]string{}}}
		for _, command := range last.Commands {
			got.follow(t, command, files, version(image))
		}
		compare(t, arch, got, image)
	}
}

// version is that which the image says it has.
func version(image built) string { return image.config.Labels["org.opencontainers.image.version"] }

// stages are the two of the Dockerfile: that which builds, and that which becomes the image.
func stages(t *testing.T) (build, last instructions.Stage) {
	t.Helper()
	file, err := os.Open(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Name != "build" {
		t.Fatalf("there are %d stages", len(all))
	}
	return all[0], all[1]
}

// run runs what the first stage runs, in a copy of the source, and returns what it leaves in /out.
func run(t *testing.T, stage instructions.Stage, arch string) map[string][]byte {
	t.Helper()
	tree, out := source(t), t.TempDir()
	env := append(os.Environ(), "TARGETARCH="+arch, "GOFLAGS=")
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.ArgCommand:
			for _, arg := range c.Args {
				if arg.Value != nil {
					env = append(env, arg.Key+"="+*arg.Value)
				}
			}
		case *instructions.EnvCommand:
			for _, pair := range c.Env {
				env = append(env, pair.Key+"="+pair.Value)
			}
		case *instructions.RunCommand:
			line := strings.ReplaceAll(strings.Join(c.CmdLine, " "), "/out/", out+"/")
			shell := exec.Command("sh", "-c", line)
			shell.Dir, shell.Env = tree, env
			if said, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, said)
			}
		case *instructions.WorkdirCommand, *instructions.CopyCommand:
			// The source is there already.
		default:
			t.Fatalf("the first stage does %s, which this test does not know", command.Name())
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files["/out/"+entry.Name()], err = os.ReadFile(filepath.Join(out, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// follow does what an instruction of the last stage does to an image.
func (b *built) follow(t *testing.T, command instructions.Command, files map[string][]byte, version string) {
	t.Helper()
	switch c := command.(type) {
	case *instructions.CopyCommand:
		if c.From != "build" || len(c.SourcePaths) != 1 {
			t.Fatalf("%s copies %v from %s", c.Name(), c.SourcePaths, c.From)
		}
		b.files[c.DestPath] = files[c.SourcePaths[0]]
	case *instructions.LabelCommand:
		for _, pair := range c.Labels {
			b.config.Labels[pair.Key] = strings.ReplaceAll(strings.Trim(pair.Value, `"`), "$VERSION", version)
		}
	case *instructions.UserCommand:
		b.config.User = c.User
	case *instructions.WorkdirCommand:
		b.config.WorkingDir = c.Path
	case *instructions.EntrypointCommand:
		if c.PrependShell {
			t.Error("the entry point needs a shell")
		}
		b.config.Entrypoint = c.CmdLine
	case *instructions.ArgCommand:
	default:
		t.Fatalf("the last stage does %s, which this test does not know", command.Name())
	}
}

func compare(t *testing.T, arch string, got, want built) {
	t.Helper()
	a, _ := json.Marshal(got.config)
	b, _ := json.Marshal(want.config)
	if !bytes.Equal(a, b) {
		t.Errorf("linux/%s: by the Dockerfile the image is run as\n%s\nand otherwise as\n%s", arch, a, b)
	}
	for path, content := range want.files {
		if digest(got.files[path]) != digest(content) {
			t.Errorf("linux/%s: %s is not the same by the Dockerfile: %d bytes, and %d", arch, path, len(got.files[path]), len(content))
		}
	}
	if len(got.files) != len(want.files) {
		t.Errorf("linux/%s: by the Dockerfile there are %v, otherwise %v", arch, slices.Sorted(maps.Keys(got.files)), slices.Sorted(maps.Keys(want.files)))
	}
}
