// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/hack/localcluster/internal/cluster"
)

// signals are those that make sense for ending a component.
var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT}

func newDown(flags *common) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the control plane; its data stays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cluster.Remains(flags.dir) {
				fmt.Fprintf(cmd.ErrOrStderr(), "nothing runs in %s\n", flags.dir)
				return nil
			}
			return flags.with(cmd.Context(), func(c *cluster.Cluster) error {
				if err := c.Down(cmd.Context()); err != nil || !purge {
					return err
				}
				return c.Purge()
			})
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "delete its data, keys and logs too")
	return cmd
}

func newStart(flags *common) *cobra.Command {
	options := cluster.StartOptions{}
	cmd := &cobra.Command{
		Use:     "start COMPONENT [-- ARGUMENTS]",
		Short:   "Start one component, with further arguments for this run if given",
		Example: "  localcluster start sluice-apiserver -- --accept-data-loss",
		Args:    oneComponent,
		RunE: func(cmd *cobra.Command, args []string) error {
			options.ExtraArgs = args[1:]
			return flags.with(cmd.Context(), func(c *cluster.Cluster) error { return c.Start(cmd.Context(), args[0], options) })
		},
	}
	addStartFlags(cmd, &options)
	return cmd
}

func newStop(flags *common) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "stop COMPONENT",
		Short: "Stop one component",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signal, err := parseSignal(name)
			if err != nil {
				return err
			}
			return flags.with(cmd.Context(), func(c *cluster.Cluster) error { return c.Stop(cmd.Context(), args[0], signal) })
		},
	}
	addSignalFlag(cmd, &name)
	return cmd
}

func newRestart(flags *common) *cobra.Command {
	var name string
	options := cluster.StartOptions{}
	cmd := &cobra.Command{
		Use:     "restart COMPONENT [-- ARGUMENTS]",
		Short:   "Stop and start one component",
		Example: "  localcluster restart kube-controller-manager --signal KILL",
		Args:    oneComponent,
		RunE: func(cmd *cobra.Command, args []string) error {
			signal, err := parseSignal(name)
			if err != nil {
				return err
			}
			options.ExtraArgs = args[1:]
			return flags.with(cmd.Context(), func(c *cluster.Cluster) error {
				return c.Restart(cmd.Context(), args[0], signal, options)
			})
		},
	}
	addSignalFlag(cmd, &name)
	addStartFlags(cmd, &options)
	return cmd
}

// oneComponent accepts a component, and arguments for it only after "--".
func oneComponent(cmd *cobra.Command, args []string) error {
	before := len(args)
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		before = dash
	}
	if before != 1 {
		return errors.New("name one component; its own arguments come after --")
	}
	return nil
}

func addStartFlags(cmd *cobra.Command, options *cluster.StartOptions) {
	cmd.Flags().BoolVar(&options.Wait, "wait", true, "wait until it is ready")
	cmd.Flags().DurationVar(&options.Timeout, "timeout", 2*time.Minute, "how long to wait")
}

func addSignalFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "signal", "TERM", "signal that ends it: TERM, KILL, INT or QUIT")
}

func parseSignal(name string) (os.Signal, error) {
	signal, known := signals[strings.TrimPrefix(strings.ToUpper(name), "SIG")]
	if !known {
		return nil, fmt.Errorf("--signal=%s is not known; TERM, KILL, INT and QUIT are", name)
	}
	return signal, nil
}
