// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/kubectl/argo"
)

// The values of --dry-run of migrate.
const dryRunClient = "client"

// migrateDryRun is the flag --dry-run of migrate: unlike a verb it knows by itself most of what it would do.
type migrateDryRun string

// String prints the value of the flag.
func (d *migrateDryRun) String() string { return string(*d) }

// Set takes the value of the flag; it fails unless that is none, client or server.
func (d *migrateDryRun) Set(text string) error {
	if !slices.Contains([]string{dryRunNone, dryRunClient, dryRunServer}, text) {
		return errors.New("must be none, client or server")
	}
	*d = migrateDryRun(text)
	return nil
}

// Type is what the help calls the value.
func (*migrateDryRun) Type() string { return "none|client|server" }

type migrateOptions struct {
	files     []string
	kustomize string
	recursive bool
	output    string

	live, all bool
	dryRun    migrateDryRun
	timeout   time.Duration

	dropUnsupported bool
}

const migrateLong = `Move Rollouts of Argo Rollouts (argoproj.io/v1alpha1) to Sluice.

With -f or -k it reads manifests and prints them for Sluice; it asks no cluster.
Manifests of other kinds are printed as they are, so that a whole folder can be
piped through it. Every field that is not carried is named on standard error, with
its path and the reason. A Rollout that would lose a step, or that Sluice would
refuse, is not printed, and the exit code is 1.

With --live it moves Rollouts in the cluster and restarts no pod: the Rollout of
Argo's is deleted and leaves its ReplicaSets and pods, which a Rollout of Sluice
with the same name adopts as they are. Nothing is changed unless the Rollout is
Healthy, has no update in flight, and is carried in full. It does not ask: each
thing done is printed. When it fails, or is interrupted, it says where things
stand, and the same command goes on from there; the pods run all the while.

Whatever makes the Rollout of Argo's again, as Argo CD or Flux from Git, must have
been told of the new manifest, or be suspended, before.`

func (p *plugin) migrateCommand() *cobra.Command {
	o := migrateOptions{timeout: 5 * time.Minute, dryRun: dryRunNone, output: formatYAML}
	cmd := &cobra.Command{
		Use:   "migrate (-f FILE | -k FOLDER | --live (NAME... | --all))",
		Short: "Move Rollouts of Argo Rollouts to Sluice",
		Long:  migrateLong,
		Example: `  # Manifests: see what is not carried, and keep what is
  kubectl sluice migrate -f rollout.yaml > sluice.yaml

  # A folder and those in it; steps that Sluice does not have are left out
  kubectl sluice migrate -R -f manifests/ --drop-unsupported

  # What would be done to a Rollout in the cluster
  kubectl sluice migrate --live demo --dry-run=server

  # Move it; its pods run on
  kubectl sluice migrate --live demo`,
		Args:              func(cmd *cobra.Command, args []string) error { return o.check(cmd, args) },
		ValidArgsFunction: p.completeArgoRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !o.live {
				return p.migrateFiles(&o)
			}
			return p.migrateLive(cmd.Context(), args, &o)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&o.files, "filename", "f", nil, "Files, folders or URLs with manifests; - is standard input")
	flags.StringVarP(&o.kustomize, "kustomize", "k", "", "A folder with a kustomization.yaml; it excludes -f and -R")
	flags.BoolVarP(&o.recursive, "recursive", "R", false, "With -f: the folders in a folder too")
	flags.StringVarP(&o.output, "output", "o", o.output, "With -f or -k: yaml or json")
	flags.BoolVar(&o.live, "live", false, "Move Rollouts in the cluster, and restart no pod")
	flags.BoolVar(&o.all, "all", false, "With --live: all Rollouts of Argo's in the namespace")
	flags.Var(&o.dryRun, "dry-run", "With --live: check, and say what would be done; server also has the servers check the new Rollout")
	flags.DurationVar(&o.timeout, "timeout", o.timeout, "With --live: how long one Rollout may take; 0 is for ever")
	flags.BoolVar(&o.dropUnsupported, "drop-unsupported", false, "Leave out steps, and with --live fields, that Sluice does not have, and name them")
	completeFlag(cmd, "output", cobra.FixedCompletions([]string{formatYAML, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "dry-run", cobra.FixedCompletions([]string{dryRunNone, dryRunClient, dryRunServer}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "timeout", nothing)
	return cmd
}

// check makes sure that the flags and arguments go together.
func (o *migrateOptions) check(cmd *cobra.Command, args []string) error {
	fromFiles := len(o.files) > 0 || o.kustomize != ""
	given := func(names ...string) string {
		at := slices.IndexFunc(names, func(name string) bool { return cmd.Flags().Changed(name) })
		if at < 0 {
			return ""
		}
		return names[at]
	}
	switch {
	case o.live && fromFiles:
		return errors.New("give either manifests, with -f or -k, or --live, not both")
	case o.live && given("output", "recursive") != "":
		return fmt.Errorf("--%s is for manifests, not for --live", given("output", "recursive"))
	case o.live && o.all && len(args) > 0:
		return errors.New("give either NAMEs or --all, not both")
	case o.live && !o.all && len(args) == 0:
		return errors.New("give the NAME of a Rollout of Argo's, or --all")
	case !o.live && given("all", "dry-run", "timeout") != "":
		return fmt.Errorf("--%s needs --live", given("all", "dry-run", "timeout"))
	case !o.live && len(args) > 0:
		return errors.New("give manifests with -f or -k, or --live for Rollouts in the cluster")
	case !o.live && !fromFiles:
		return errors.New("give manifests with -f or -k, or --live")
	case o.output != formatYAML && o.output != formatJSON:
		return fmt.Errorf("-o %s: must be %s or %s", o.output, formatYAML, formatJSON)
	}
	for _, arg := range args {
		if _, err := argoName(arg); err != nil {
			return err
		}
	}
	return nil
}

// argoName takes the name of a Rollout of Argo's, with its type in front or without.
func argoName(arg string) (string, error) {
	for _, kind := range []string{"rollout.", "rollouts."} {
		if name, ok := strings.CutPrefix(arg, kind+argo.Group+"/"); ok && name != "" {
			return name, nil
		}
	}
	return rolloutName(arg)
}

// printedArgo is how a Rollout of Argo's is named in messages.
func printedArgo(name string) string { return "rollout." + argo.Group + "/" + name }

// completeArgoRollouts completes the names of Rollouts of Argo's.
func (p *plugin) completeArgoRollouts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if live, err := cmd.Flags().GetBool("live"); err != nil || !live {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.complete(cmd, func(ctx context.Context, c *cluster) ([]string, error) {
		all, err := c.dynamic.Resource(argo.Resource).Namespace(c.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		var names []string
		for i := range all.Items {
			if name := all.Items[i].GetName(); !slices.Contains(args, name) {
				names = append(names, name)
			}
		}
		return names, nil
	})
}
