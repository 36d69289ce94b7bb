// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/rbac"
)

// directoryVariable names the folder of a control plane to use, which then stays up.
const directoryVariable = "SLUICE_HA_DIR"

// local is the control plane of all tests.
var local *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
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
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "not run: tests of three replicas start a node, which is not done with -short")
		return 0, nil
	}
	missing, err := cluster.Missing(ctx)
	switch {
	case err != nil:
		return 1, err
	case missing != "" && os.Getenv("CI") != "":
		return 1, errors.New("tests of three replicas must run here, and cannot; what is missing is " + missing)
	case missing != "":
		fmt.Fprintln(os.Stderr, "not run: tests of three replicas; what is missing is", missing)
		return 0, nil
	}
	dir, theirs := os.LookupEnv(directoryVariable)
	if !theirs {
		if dir, err = os.MkdirTemp("", "sluice-ha-"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
	}
	options := cluster.Options{Dir: dir, Real: true, Progress: os.Stderr}
	if local, err = cluster.Attach(ctx, options); err == nil && local == nil {
		local, err = cluster.Up(ctx, options)
	}
	if err != nil {
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
	// A figure that was missed says nothing of rights.
	err = rbac.Hold(local, rbac.Members)
	if theirs {
		return code, err
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return code, errors.Join(err, local.Down(down))
}
