// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is that of the source tree.
const root = "../.."

// The document is what the tests say now.
func TestDocumentIsUpToDate(t *testing.T) {
	shown, err := shownBy(root)
	if err != nil {
		t.Fatal(err)
	}
	want, err := document(shown)
	if err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(filepath.Join(root, documentPath))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the tests say: run make conformance", documentPath)
	}
}

func TestProblemsAreNamed(t *testing.T) {
	complete := map[string][]place{}
	for _, s := range sections {
		for _, b := range s.behaviours {
			if b.differs == "" {
				complete[s.number+" "+b.name] = []place{{name: "TestIt", file: "test/e2e/it_test.go"}}
			}
		}
	}
	if text, err := document(complete); err != nil || !strings.Contains(text, "| [`TestIt`](../test/e2e/it_test.go) |") {
		t.Fatalf("with all of them shown: %v\n%s", err, text)
	}
	for name, test := range map[string]struct {
		change func()
		want   string
	}{
		"not shown":           {func() { delete(complete, "3.2 TestBlueGreenUpdate") }, `"3.2 TestBlueGreenUpdate" must be shown`},
		"shown and explained": {func() { complete["3.1 TestCanaryScaleDownDelay"] = []place{{name: "TestIt"}} }, `"3.1 TestCanaryScaleDownDelay" must be shown`},
		"not a behaviour":     {func() { complete["3.1 TestNothing"] = []place{{name: "TestIt"}} }, `TestIt shows "3.1 TestNothing", which is not in behaviours.go`},
	} {
		t.Run(name, func(t *testing.T) {
			test.change()
			if _, err := document(complete); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q in it", err, test.want)
			}
		})
	}
}
