// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/hack/localcluster/internal/balance"
	"sluice.dev/sluice/hack/localcluster/internal/cluster"
	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// The commands here are components, or parts of them, rather than commands for people. They need no source tree.

func part(cmd *cobra.Command) *cobra.Command {
	cmd.Hidden = true
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return nil }
	return cmd
}

// dialTimeout is how long a backend may take to accept; on one machine it does so or refuses at once.
const dialTimeout = time.Second

func newBalance() *cobra.Command {
	var listen, dir string
	var backends []string
	cmd := part(&cobra.Command{
		Use:   "balance",
		Short: "Forward connections to the first backend that accepts them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := net.ListenConfig{}
			listener, err := config.Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			dial := (&net.Dialer{Timeout: dialTimeout}).DialContext
			if dir != "" {
				dial = dialInside(dir)
			}
			return balance.Serve(cmd.Context(), listener, backends, dial)
		},
	})
	cmd.Flags().StringVar(&listen, "listen", "", "address to listen on")
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the control plane in whose sandbox the backends are")
	cmd.Flags().StringArrayVar(&backends, "backend", nil, "address of a backend; may be repeated")
	return cmd
}

// dialInside connects in the sandbox of a control plane: in the present one, should it be started again.
func dialInside(dir string) balance.Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		pid, err := firstProcess(dir)
		if err != nil {
			return nil, err
		}
		return sandbox.Dialer{PID: pid, Timeout: dialTimeout}.DialContext(ctx, network, address)
	}
}

// firstProcess is that of the sandbox of a control plane.
func firstProcess(dir string) (int, error) {
	recorded, err := state.Load(dir)
	if err != nil {
		return 0, err
	}
	if recorded == nil {
		return 0, fmt.Errorf("nothing runs in %s", dir)
	}
	first, err := recorded.Find(component.Sandbox)
	if err != nil {
		return 0, fmt.Errorf("the control plane in %s has fake nodes, and no sandbox", dir)
	}
	if !first.Process.Alive() {
		return 0, errors.New("the sandbox does not run")
	}
	return first.Process.PID, nil
}

func newSandbox() *cobra.Command {
	var s sandbox.Sandbox
	cmd := part(&cobra.Command{
		Use:   "sandbox",
		Short: "Be the first process of a sandbox",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return s.Run() },
	})
	cmd.Flags().StringVar(&s.Dir, "dir", "", "folder of the control plane")
	cmd.Flags().StringArrayVar(&s.Visible, "visible", nil, "folder that stays visible; may be repeated")
	cmd.Flags().StringVar(&s.HostName, "host-name", "", "name of the node")
	cmd.Flags().StringVar(&s.Health, "health", "", "address to answer on when all is ready")
	return cmd
}

// newEnter is of use to people, too: it runs any program where the node is.
func newEnter() *cobra.Command {
	var dir string
	cmd := part(&cobra.Command{
		Use:     "enter --dir DIR -- PROGRAM [ARGUMENTS]",
		Short:   "Run a program in the sandbox of a control plane with a real node",
		Example: "  localcluster enter --dir _local -- nft list ruleset",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			pid, err := firstProcess(dir)
			if err != nil {
				return err
			}
			code, err := sandbox.Enter(dir, pid, args[0], args[1:])
			if err == nil {
				os.Exit(code)
			}
			return err
		},
	})
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the control plane")
	return cmd
}

func newBecome() *cobra.Command {
	return part(&cobra.Command{
		Use:                "become PROGRAM [ARGUMENTS]",
		Short:              "Be a program in a sandbox",
		Args:               cobra.MinimumNArgs(1),
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return sandbox.Become(args[0], args[1:]) },
	})
}

// newImport is for images that were built since the node was started.
func newImport(flags *common) *cobra.Command {
	return &cobra.Command{
		Use:   "import ARCHIVE",
		Short: "Give the real node the images of an OCI archive",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *cluster.Cluster) error { return c.Import(cmd.Context(), args[0]) })
		},
	}
}
