// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command authorities prints the certificates of the public authorities that the image of Sluice has, for the
// Dockerfile.
package main

import (
	"fmt"
	"os"

	"sluice.dev/sluice/hack/localcluster/internal/authorities"
)

func main() {
	if _, err := os.Stdout.Write(authorities.PEM()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
