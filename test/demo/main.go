// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo plays the guide on the local control plane: it deploys the example Rollout, updates,
// promotes, aborts and heals it, with the plugin and again with stock kubectl alone, and shows every
// command and what came of it. It checks every stage and fails at the first that is off. It is run by
// "make demo", and may import test/cluster and client-go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sluice.dev/sluice/test/cluster"
)

// limit is how long the whole guide may take, once the control plane is up: two minutes, and more on a busy machine.
const limit = 10 * time.Minute

func main() {
	dir := flag.String("dir", "", "folder of the control plane (default: _local in the source tree)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir); err != nil {
		newScreen(os.Stdout).failed(err)
		stop()
		os.Exit(1)
	}
}

// run plays the guide on the control plane in the folder, which it starts unless it runs.
func run(ctx context.Context, dir string) error {
	s := newScreen(os.Stdout)
	options := cluster.Options{Dir: dir, Progress: os.Stderr}
	c, err := cluster.Attach(ctx, options)
	if err == nil && c == nil {
		c, err = start(ctx, s, options)
	}
	if err != nil {
		return err
	}
	real, err := c.Real()
	if err != nil {
		return err
	}
	if real {
		s.say("The pods are real: containers on a node of this machine.")
	} else {
		s.say("The pods are played by kwok: no container is started.")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	g := &guide{cluster: c, screen: s}
	if err := g.play(ctx); err != nil {
		return fmt.Errorf("%w\n\nThe control plane still runs. To look at it: export KUBECONFIG=%s/kubeconfig. To stop it: %s", err, c.Dir(), c.DownCommand())
	}
	g.screen.say("The control plane still runs, with the Rollout in it. To look at it: export KUBECONFIG=%s/kubeconfig. To stop it: %s", c.Dir(), c.DownCommand())
	return nil
}

// start starts a control plane, with a real node where there can be one.
func start(ctx context.Context, s *screen, options cluster.Options) (*cluster.Cluster, error) {
	missing, err := cluster.Missing(ctx)
	if err != nil {
		return nil, err
	}
	if options.Real = missing == ""; !options.Real {
		s.say("No real node can run here, what is missing is %s.", missing)
	}
	return cluster.Up(ctx, options)
}
