// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
	"testing"

	"sluice.dev/sluice/hack/localcluster/internal/progress"
)

// What is pinned is built once: without the go command it is up to date then, until its module or its flags change.
func TestPinnedBinariesAreBuiltOnce(t *testing.T) {
	repository := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(repository, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/program\n\ngo 1.26\n")
	write("main.go", "package main\n\nfunc main() {}\n")
	silent, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	reporter := progress.New(silent)
	defer reporter.Close()
	builder := &Builder{Repository: repository, Dir: t.TempDir(), Reporter: reporter}
	binary := Binary{Name: "static/program", Package: ".", Flags: "-s", Static: true, Pinned: true, Title: "program"}
	build := func(b Binary) error { return builder.Build(t.Context(), []Binary{b}) }
	upToDate := func(want bool) {
		t.Helper()
		if got, err := builder.UpToDate(binary); err != nil || got != want {
			t.Errorf("it is up to date: %t, %v; want %t", got, err, want)
		}
	}
	upToDate(false)
	if err := build(binary); err != nil {
		t.Fatal(err)
	}
	upToDate(true)
	t.Setenv("PATH", t.TempDir())
	if err := build(binary); err != nil {
		t.Errorf("it is built again: %v", err)
	}
	stripped := binary
	stripped.Flags = "-s -w"
	if err := build(stripped); err == nil {
		t.Error("with other flags it is still the same")
	}
	write("go.sum", "example.com/another v1.0.0 h1:AAAA=\n")
	if err := build(binary); err == nil {
		t.Error("with other pins it is still the same")
	}
	upToDate(false)
	if err := os.Remove(filepath.Join(repository, "go.sum")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(builder.Dir, binary.Name)); err != nil {
		t.Fatal(err)
	}
	if err := build(binary); err == nil {
		t.Error("it is gone, and not built")
	}
}
