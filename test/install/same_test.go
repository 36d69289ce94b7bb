// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"
)

// Chart and overlay are two ways to the same objects.
func TestChartAndOverlayAreTheSame(t *testing.T) {
	for mode, values := range modes {
		t.Run(mode, func(t *testing.T) {
			fromChart, fromOverlay := rendered(t, values), overlay(t, mode)
			if a, b := fromChart.names(), fromOverlay.names(); !slices.Equal(a, b) {
				t.Fatalf("the chart has\n%s\nand the overlay\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
			}
			for name, want := range fromOverlay {
				if got := fromChart[name]; !equality.Semantic.DeepEqual(got.Object, want.Object) {
					a, _ := yaml.Marshal(got.Object)
					b, _ := yaml.Marshal(want.Object)
					t.Errorf("%s is, in the chart,\n%s\nand in the overlay\n%s", name, a, b)
				}
			}
		})
	}
}

// There is an overlay for every mode, a mode for every overlay, and the schema knows each.
func TestModes(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(repository, "artifacts", "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if modes[entry.Name()] == nil {
			t.Errorf("the overlay %s is not compared with the chart", entry.Name())
		}
	}
	if len(entries) != len(modes) {
		t.Errorf("there are %d overlays for %d modes", len(entries), len(modes))
	}
	if known := schema(t).Properties["mode"].Enum; len(known) != len(modes) {
		t.Errorf("the schema knows the modes %v", known)
	}
}

// What both have in common is the same to the letter, comments included.
func TestSharedFilesOfTheChart(t *testing.T) {
	for folder, own := range map[string][]string{"base": {"kustomization.yaml"}, "overlays/ha": {"kustomization.yaml", "statefulset.yaml"}} {
		shared, err := filepath.Glob(filepath.Join(repository, "artifacts", folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		copies := filepath.Join(chartFolder, filepath.Base(folder))
		for _, path := range shared {
			name := filepath.Base(path)
			if slices.Contains(own, name) {
				continue
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(copies, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s is not %s: run make chart (%v)", filepath.Join(copies, name), path, err)
			}
		}
		if found, err := os.ReadDir(copies); err != nil || len(found) != len(shared)-len(own) {
			t.Errorf("%s has %d files, and artifacts/%s %d without its own: run make chart (%v)", copies, len(found), folder, len(shared)-len(own), err)
		}
	}
}

// Without createNamespace only the namespace is missing, and nothing of another namespace is left.
func TestNamespaceOfTheRelease(t *testing.T) {
	usual := rendered(t, nil)
	all := rendered(t, map[string]any{"createNamespace": true})
	delete(all, "Namespace /"+systemNamespace)
	if !slices.Equal(usual.names(), all.names()) {
		t.Errorf("without createNamespace there are %q", usual.names())
	}
	elsewhere, err := helm("delivery", map[string]any{"createNamespace": true})
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range elsewhere {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), systemNamespace) {
			t.Errorf("%s of a release in another namespace names %s:\n%s", name, systemNamespace, text)
		}
	}
	if elsewhere["Namespace /delivery"] == nil || elsewhere["StatefulSet delivery/sluice-apiserver"] == nil {
		t.Errorf("there are %q", elsewhere.names())
	}
}
