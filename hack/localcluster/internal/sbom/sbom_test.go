// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

// A small program of this module is a Go binary like any other, of which something is known.
func TestJSON(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "authorities")
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "../../cmd/authorities").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	beside := &debug.Module{Path: "example.com/list", Version: "v1.0.0", Sum: "h1:AAAA"}
	bill := Bill{Binary: binary, Version: "v1.2.3", Beside: []*debug.Module{beside}}
	text, err := bill.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var read cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(&read); err != nil {
		t.Fatal(err)
	}
	if main := read.Metadata.Component; main.PackageURL != "pkg:golang/sluice.dev/sluice/hack/localcluster@v1.2.3" || main.Type != cyclonedx.ComponentTypeApplication {
		t.Errorf("it is the bill of %+v", main)
	}
	found := map[string]cyclonedx.Component{}
	for _, c := range *read.Components {
		found[c.Name] = c
	}
	if std := found["std"]; std.Version != strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("the standard library is %q", std.Version)
	}
	if c := found["golang.org/x/crypto/x509roots/fallback"]; c.Version == "" || c.Hashes == nil || len((*c.Hashes)[0].Value) != 64 {
		t.Errorf("a module that is in the binary is %+v", c)
	}
	if c := found["example.com/list"]; c.Version != "v1.0.0" || (*c.Hashes)[0].Value != "000000" {
		t.Errorf("what is shipped beside it is %+v", c)
	}
	if _, there := found["k8s.io/kubernetes"]; there {
		t.Error("a module that is in go.mod, but not in the binary, is in the bill")
	}
	again, err := bill.JSON()
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("the second bill is another one: %v", err)
	}
}

func TestJSONOfWhatIsNoBinaryOfGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Bill{Binary: path}).JSON(); err == nil {
		t.Error("it has a bill")
	}
}
