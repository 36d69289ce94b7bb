// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package suite is what packages of tests that share one local control plane begin and end with. It may import
// test/cluster.
package suite

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
)

// Suite is tests that share one control plane.
type Suite struct {
	// Title names them to a person, as in "tests with real pods".
	Title string
	// Directory is the environment variable that names the folder of a control plane to use. That one is taken as it is
	// if it is up, and stays up.
	Directory string
	// Options are those of the control plane; Main chooses its folder.
	Options cluster.Options
	// Begin is called before the tests, when the control plane is up.
	Begin func(*cluster.Cluster) error
	// End is called after the tests, while the control plane is up; nil for nothing. code is their exit code, stays
	// whether the control plane stays up.
	End func(code int, stays bool) error
}

// Main runs the tests, and ends the process with their exit code. Where a control plane with a real node cannot run it
// says so and leaves them out, unless the environment variable CI is set.
func (s Suite) Main(m *testing.M) {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := s.run(ctx, m)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run brings the control plane up, runs the tests and takes it down.
func (s Suite) run(ctx context.Context, m *testing.M) (code int, err error) {
	if omitted, err := s.omitted(ctx); omitted || err != nil {
		return 0, err
	}
	options := s.Options
	options.Progress = os.Stderr
	var stays bool
	if options.Dir, stays = os.LookupEnv(s.Directory); !stays {
		if options.Dir, err = os.MkdirTemp("", "sluice-tests-"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(options.Dir)
	}
	local, err := cluster.Attach(ctx, options)
	if err == nil && local == nil {
		local, err = cluster.Up(ctx, options)
	}
	if err != nil {
		return 1, err
	}
	// The tests do not end by themselves when they are interrupted.
	defer context.AfterFunc(ctx, func() {
		if !stays {
			_ = local.Down(context.WithoutCancel(ctx))
			os.RemoveAll(options.Dir)
		}
		os.Exit(1)
	})()
	if err = s.Begin(local); err == nil {
		code = m.Run()
		if s.End != nil {
			err = s.End(code, stays)
		}
	}
	if stays {
		return code, err
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return code, errors.Join(err, local.Down(down))
}

// omitted says why the tests are not run, if they are not.
func (s Suite) omitted(ctx context.Context) (bool, error) {
	if testing.Short() {
		fmt.Fprintf(os.Stderr, "not run: %s start a control plane, which is not done with -short\n", s.Title)
		return true, nil
	}
	if !s.Options.Real {
		return false, nil
	}
	missing, err := cluster.Missing(ctx)
	if err != nil || missing == "" {
		return false, err
	}
	if os.Getenv("CI") != "" {
		return false, fmt.Errorf("%s must run here, and cannot; what is missing is %s", s.Title, missing)
	}
	fmt.Fprintf(os.Stderr, "not run: %s; what is missing is %s\n", s.Title, missing)
	return true, nil
}
