// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-sluice is the kubectl plugin for Rollouts: put it in PATH and call it as kubectl sluice.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sluice.dev/sluice/pkg/kubectl"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(kubectl.Main(os.Args, streams))
}
