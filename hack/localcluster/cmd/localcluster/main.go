// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command localcluster runs a real Kubernetes control plane with Sluice in it on this machine, from
// nothing but Go modules: for development, the demonstration, the benchmark and the tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sluice.dev/sluice/hack/localcluster/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command.New().ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		stop()
		os.Exit(1)
	}
}
