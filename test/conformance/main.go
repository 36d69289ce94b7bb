// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// write writes the document of the source tree in a folder.
func write(root string) error {
	shown, err := shownBy(root)
	if err != nil {
		return err
	}
	text, err := document(shown)
	if err != nil {
		return err
	}
	return os.WriteFile(root+"/"+documentPath, []byte(text), 0o644)
}
