// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package command is the command line of localcluster. Every command works on the control plane in
// one folder, so that several can run side by side. It imports the package cluster, which does the work.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/hack/localcluster/internal/cluster"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
)

// modulePath is the first line of go.mod by which the source tree is recognised.
const modulePath = "module sluice.dev/sluice\n"

// common are the flags of all commands.
type common struct {
	repository, dir, binDir string
	output                  string
}

// New returns the command with all its subcommands.
func New() *cobra.Command {
	flags := &common{}
	root := &cobra.Command{
		Use:   "localcluster",
		Short: "Run a Kubernetes control plane with Sluice on this machine",
		Long: `Run a Kubernetes control plane with Sluice on this machine: etcd, kube-apiserver,
kube-controller-manager, kube-scheduler, fake nodes played by kwok, and sluice-apiserver,
registered and authorised as in artifacts/base. With --real there is one real node instead, with
kubelet, containerd and kube-proxy, and Sluice is a pod on it, installed by
artifacts/overlays/embedded. All of it is built from source.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return flags.complete() },
	}
	root.PersistentFlags().StringVar(&flags.repository, "repository", "", "root of the source tree (default: found from the working folder upwards)")
	root.PersistentFlags().StringVar(&flags.dir, "dir", "", "folder of the control plane (default: _local in the source tree)")
	root.PersistentFlags().StringVar(&flags.binDir, "bin-dir", "", "folder of the binaries, shared by all control planes (default: _local/bin in the source tree)")
	root.AddCommand(newUp(flags), newDown(flags), newStatus(flags), newBuild(flags),
		newStart(flags), newStop(flags), newRestart(flags), newImport(flags), newImage(flags), newMissing(flags),
		newBalance(), newSandbox(), newEnter(), newBecome())
	return root
}

// complete fills in what was not given.
func (c *common) complete() (err error) {
	if c.repository == "" {
		working, err := os.Getwd()
		if err != nil {
			return err
		}
		if c.repository, err = findRepository(working); err != nil {
			return err
		}
	}
	if c.repository, err = filepath.Abs(c.repository); err != nil {
		return err
	}
	if c.dir == "" {
		c.dir = filepath.Join(c.repository, "_local")
	}
	if c.binDir == "" {
		c.binDir = filepath.Join(c.repository, "_local", "bin")
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	c.binDir, err = filepath.Abs(c.binDir)
	return err
}

// findRepository looks for the source tree that contains the folder.
func findRepository(folder string) (string, error) {
	for dir := folder; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if strings.HasPrefix(string(content), modulePath) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the source tree of Sluice; go there or name it with --repository", folder)
		}
	}
}

// with runs the function on the control plane of the flags, under its lock.
func (c *common) with(ctx context.Context, act func(*cluster.Cluster) error) (err error) {
	reporter := progress.New(os.Stderr)
	defer reporter.Close()
	opened, err := cluster.Open(ctx, c.dir, reporter)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return act(opened)
}

func (c *common) addOutput(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "json for output that programs can read")
}

func (c *common) json() (bool, error) {
	switch c.output {
	case "":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, fmt.Errorf("--output=%s is not known; json is", c.output)
	}
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
