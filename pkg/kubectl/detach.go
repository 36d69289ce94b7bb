// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type detachOptions struct {
	all           bool
	allNamespaces bool
	timeout       time.Duration
}

func (p *plugin) detachCommand() *cobra.Command {
	o := detachOptions{timeout: time.Minute}
	cmd := &cobra.Command{
		Use:   "detach NAME | --all",
		Short: "Delete Rollouts and leave their pods running",
		Long: `Delete Rollouts and leave their ReplicaSets and pods running, owned by nobody. It
does not ask: each thing done is printed. It is the first step of uninstalling
Sluice, 'kubectl sluice detach --all --all-namespaces', since the garbage
collector kills the pods of every ReplicaSet that is owned by what is gone.

While the server of Sluice answers, each Rollout is deleted with the policy
Orphan: its controller lets go of it, and the garbage collector takes the owner
references off its ReplicaSets. What that leaves behind is taken off here. It
must be the server that deletes, since a Rollout that stays adopts ReplicaSets
without an owner again, as a Deployment does.

When the server does not answer (the API group is unavailable or gone) the owner
references to Rollouts are taken off directly, each by the uid of its owner, and
only if the ReplicaSet has not changed since it was read. If the server comes
back with its store, it adopts them again.

The command returns when no ReplicaSet refers to a Rollout any more and the
Rollouts are gone. One that has finalizers of others, or that the garbage
collector holds until the timeout, is named on standard error. Without
--all-namespaces only one namespace is worked on.

Nothing is done while a Deployment would adopt the ReplicaSets that are let go of
and has fewer replicas than they have: it would take their pods for too many of
its own. A Rollout with workloadRef has such a Deployment, and goes back to it
with 'kubectl sluice migrate --back'.`,
		Example: `  # Take one Rollout away, keep its pods
  kubectl sluice detach demo

  # Before uninstalling Sluice
  kubectl sluice detach --all --all-namespaces`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.all && len(args) > 0:
				return errors.New("give either NAME or --all, not both")
			case o.all:
				return nil
			case o.allNamespaces:
				return errors.New("--all-namespaces needs --all")
			}
			return oneRollout(cmd, args)
		},
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.connect()
			if err != nil {
				return err
			}
			scope := detachScope{namespace: c.namespace}
			if o.allNamespaces {
				scope.namespace = metav1.NamespaceAll
			}
			if !o.all {
				scope.name, _ = rolloutName(args[0])
			}
			return p.detach(cmd.Context(), c, scope, o.timeout)
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "Detach all Rollouts of the namespace")
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "With --all: those of all namespaces")
	cmd.Flags().DurationVar(&o.timeout, "timeout", o.timeout, "How long to wait until it is done; 0 is for ever")
	return cmd
}

func (p *plugin) detach(ctx context.Context, c *cluster, scope detachScope, timeout time.Duration) error {
	limited, cancel := withTimeout(ctx, timeout)
	defer cancel()
	d := &detachment{cluster: c, scope: scope, grace: orphanGrace, interval: p.detachInterval}
	err := p.runDetachment(limited, d)
	if exceeded(limited, err) {
		return fmt.Errorf("not done after %s, ReplicaSets that still refer to Rollouts: %d; run it again, or with a longer --timeout", timeout, d.held)
	}
	if err != nil {
		return err
	}
	p.warnOfOthers(ctx, d)
	return nil
}

func (p *plugin) runDetachment(ctx context.Context, d *detachment) error {
	present, err := d.rollouts(ctx)
	if serverAbsent(err) {
		d.serverless = true
		fmt.Fprintf(p.ErrOut, "The server of Sluice does not answer (%v).\n", err)
	} else if err != nil {
		return err
	}
	if err := d.collect(ctx); err != nil {
		return err
	}
	if len(present) == 0 && len(d.owned) == 0 {
		return p.nothingToDetach(d.scope)
	}
	if err := d.refuseAdopters(ctx, present); err != nil {
		return err
	}
	if d.serverless {
		fmt.Fprintln(p.ErrOut, "Owner references are taken off without it; if it comes back with its store, it adopts the ReplicaSets again.")
	}
	for _, r := range present {
		if err := d.orphan(ctx, r); err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s deleted%s, its pods are kept\n", printed(r.Name), d.scope.suffix(r.Namespace))
	}
	err = d.settle(ctx, func(namespace, name string) {
		fmt.Fprintf(p.Out, "replicaset.apps/%s detached%s\n", name, d.scope.suffix(namespace))
	})
	if err != nil {
		return err
	}
	p.warnOfRemains(d)
	return nil
}

// warnOfRemains tells of Rollouts that are still being deleted, and of whom they wait for. Their pods are
// safe already.
func (p *plugin) warnOfRemains(d *detachment) {
	for _, r := range d.going {
		name := printed(r.Name) + d.scope.suffix(r.Namespace)
		if awaitsCollector(r) {
			fmt.Fprintf(p.ErrOut, "%s is still being deleted, until the garbage collector lets go of it. Is kube-controller-manager running?\n", name)
			continue
		}
		fmt.Fprintf(p.ErrOut, "%s is still being deleted, until its finalizers are taken off: %s\n", name, strings.Join(foreignFinalizers(r.Finalizers), ", "))
	}
}

func (p *plugin) nothingToDetach(scope detachScope) error {
	if scope.name != "" {
		return fmt.Errorf("there is no Rollout %q in namespace %s, nor a ReplicaSet of it", scope.name, scope.namespace)
	}
	p.foundNothing(scope.namespace)
	return nil
}

// warnOfOthers tells somebody who is about to uninstall what is left in other namespaces. Whoever may not
// look there is not told.
func (p *plugin) warnOfOthers(ctx context.Context, d *detachment) {
	if d.scope.name != "" || d.scope.namespace == metav1.NamespaceAll {
		return
	}
	others := &detachment{cluster: d.cluster}
	if err := others.collect(ctx); err != nil || len(others.owned) == 0 {
		return
	}
	fmt.Fprintf(p.ErrOut, "ReplicaSets in other namespaces that belong to Rollouts: %d. Before uninstalling Sluice, run 'kubectl sluice detach --all --all-namespaces'.\n", len(others.owned))
}
