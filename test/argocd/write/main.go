// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command write writes the entries for Argo CD's ConfigMap from the scripts, in the source tree that it is called in.
package main

import (
	"fmt"
	"os"

	"sluice.dev/sluice/test/argocd"
)

func main() {
	if err := (argocd.Scripts{Root: "."}).Write(); err != nil {
		fmt.Fprintln(os.Stderr, "argocd:", err)
		os.Exit(1)
	}
}
