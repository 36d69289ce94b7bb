// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/rbac"
)

const (
	// directoryVariable names the folder of a control plane to use.
	directoryVariable = "SLUICE_E2E_DIR"
	// together is how many tests run at the same time. They wait more than they work.
	atOnce = 8
	// logLines is how much of the server's log is shown when something failed.
	logLines = 60
)

// local is the control plane of all tests.
var local *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "the end-to-end tests start a control plane, which is not done with -short")
		os.Exit(0)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, m)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run brings the control plane up, runs the tests and takes it down.
func run(ctx context.Context, m *testing.M) (code int, err error) {
	dir, theirs := os.LookupEnv(directoryVariable)
	if !theirs {
		if dir, err = os.MkdirTemp("", "sluice-e2e-"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
	}
	options := cluster.Options{Dir: dir, Progress: os.Stderr}
	if local, err = cluster.Attach(ctx, options); err == nil && local == nil {
		local, err = cluster.Up(ctx, options)
	}
	if err != nil {
		return 1, err
	}
	if err := raiseParallel(); err != nil {
		return 1, err
	}
	// The tests do not end by themselves when they are interrupted.
	defer context.AfterFunc(ctx, func() {
		if !theirs {
			_ = local.Down(context.WithoutCancel(ctx))
			os.RemoveAll(dir)
		}
		os.Exit(1)
	})()
	code = m.Run()
	if code != 0 {
		showLog(local, cluster.Server)
	}
	if theirs {
		return code, nil
	}
	if code == 0 {
		err = rbac.Hold(local, rbac.Alone)
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return code, errors.Join(err, local.Down(down))
}

// raiseParallel raises the number of tests at the same time, which defaults to that of the cores, unless it
// was given.
func raiseParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(atOnce))
}

func showLog(c *cluster.Cluster, name string) {
	component, err := c.Component(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	lines, err := component.LastLines(logLines)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Fprintf(os.Stderr, "the last lines of %s:\n%s\n", component.Log, lines)
}
