// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command sluice-apiserver serves rollouts.sluice.dev to the Kubernetes API server that aggregates it, and
// runs the controller that acts on them.
package main

import (
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"sluice.dev/sluice/pkg/cmd/server"
)

func main() {
	command := server.NewCommand(genericapiserver.SetupSignalContext())
	os.Exit(cli.Run(command))
}
