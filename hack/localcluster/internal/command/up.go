// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/hack/localcluster/internal/cluster"
	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

func newUp(flags *common) *cobra.Command {
	var etcd string
	var without bool
	var nodes int
	var real bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build what is missing and start the control plane",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := flags.json()
			if err != nil {
				return err
			}
			mode, err := sluiceMode(without, real, etcd, cmd.Flags().Changed("sluice-etcd"))
			if err != nil {
				return err
			}
			started := time.Now()
			reporter := progress.New(os.Stderr)
			recorded, err := cluster.Up(cmd.Context(), flags.options(mode, nodes, real), reporter)
			reporter.Close()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), recorded)
			}
			return explain(cmd.OutOrStdout(), recorded, time.Since(started))
		},
	}
	cmd.Flags().BoolVar(&without, "no-sluice", false, "start the host cluster only")
	cmd.Flags().StringVar(&etcd, "sluice-etcd", string(component.EmbeddedEtcd),
		"etcd of Sluice: embedded, or external, with which a second server can be started: localcluster start "+component.SluiceReplica)
	cmd.Flags().BoolVar(&real, "real", false, "one real node with containers instead of fake ones, and Sluice a pod on it; needs Linux and root")
	cmd.Flags().IntVar(&nodes, "nodes", 4, "number of fake nodes")
	flags.addOutput(cmd)
	return cmd
}

func newBuild(flags *common) *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build all binaries, or what of them is out of date",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reporter := progress.New(os.Stderr)
			defer reporter.Close()
			return cluster.Build(cmd.Context(), flags.options(component.EmbeddedEtcd, 0, false), reporter)
		},
	}
}

// newMissing is for scripts and tests that choose.
func newMissing(flags *common) *cobra.Command {
	return &cobra.Command{
		Use:    "missing",
		Short:  "Say what keeps a real node from running on this machine, and fail if anything does",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			missing, err := cluster.Missing(flags.options(component.NoSluice, 0, true))
			if err != nil || len(missing) == 0 {
				return err
			}
			return errors.New(strings.Join(missing, "; "))
		},
	}
}

func (c *common) options(mode component.SluiceMode, nodes int, real bool) cluster.Options {
	return cluster.Options{Repository: c.repository, Dir: c.dir, BinDir: c.binDir, Mode: mode, Nodes: nodes, Real: real}
}

func sluiceMode(without, real bool, etcd string, chosen bool) (component.SluiceMode, error) {
	switch {
	case without:
		return component.NoSluice, nil
	case real && chosen:
		return "", errors.New("--sluice-etcd is for a server outside of the cluster; with --real it is a pod, as its manifests say")
	case real:
		return component.InCluster, nil
	}
	switch mode := component.SluiceMode(etcd); mode {
	case component.EmbeddedEtcd, component.ExternalEtcd:
		return mode, nil
	default:
		return "", fmt.Errorf("--sluice-etcd=%s is not known; embedded and external are", etcd)
	}
}

// explain tells a person what to do with the control plane.
func explain(out io.Writer, recorded *state.State, took time.Duration) error {
	text := fmt.Sprintf(`
The control plane is up (%s). To use it:

    export KUBECONFIG=%s
    export PATH=%s:$PATH

`, progress.Elapsed(took), recorded.Kubeconfig, recorded.BinDir)
	if recorded.Sluice != component.NoSluice {
		text += fmt.Sprintf(`    kubectl apply -f %s/artifacts/examples/rollouts-demo.yaml
    kubectl sluice get rollout rollouts-demo --watch

`, recorded.Repository)
	}
	text += fmt.Sprintf("To look after it: %s (logs are in %s/log). To stop it: %s\n", recorded.Command("status"), recorded.Dir, recorded.Command("down"))
	_, err := io.WriteString(out, text)
	return err
}
