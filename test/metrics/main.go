// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

// write writes the document of the source tree in a folder, and the rules for the operator.
func write(root string) error {
	for path, content := range map[string]func(string) (string, error){documentPath: document, operatorPath: operatorRules} {
		text, err := content(root)
		if err != nil {
			return err
		}
		if err := os.WriteFile(root+"/"+path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
