// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// pins identifies all that a pinned binary is made of: the files of its module, of which go.sum names every other
// one, how it is built, and by which Go.
func (b *Builder) pins(binary Binary) (string, error) {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q %q %t %s %s\n", binary.Package, binary.Flags, binary.Tags, binary.Static, runtime.Version(), runtime.GOARCH)
	module := filepath.Join(b.Repository, binary.Module)
	err := filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%s %x\n", strings.TrimPrefix(path, module), sha256.Sum256(content))
		return nil
	})
	return fmt.Sprintf("%x", hash.Sum(nil)), err
}

// UpToDate is true if a pinned binary is there, and need not be built again.
func (b *Builder) UpToDate(binary Binary) (bool, error) {
	pins, err := b.pins(binary)
	return err == nil && b.built(binary, b.scratch(), pins), err
}

// noteFile is where it is noted what a binary was built from.
func noteFile(binary Binary, scratch string) string {
	return filepath.Join(scratch, strings.ReplaceAll(binary.Name, "/", "-")+".pins")
}

// built is true if the binary is there, and was built from this.
func (b *Builder) built(binary Binary, scratch, pins string) bool {
	if _, err := os.Stat(filepath.Join(b.Dir, binary.Name)); err != nil {
		return false
	}
	noted, err := os.ReadFile(noteFile(binary, scratch))
	return err == nil && string(noted) == pins
}

// note notes what a pinned binary was built from.
func (b *Builder) note(binary Binary, scratch, pins string) error {
	if pins == "" {
		return nil
	}
	return os.WriteFile(noteFile(binary, scratch), []byte(pins), 0o644)
}
