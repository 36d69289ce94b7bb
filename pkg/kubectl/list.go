// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/live"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// leastListing is the shortest time between two prints of a list, so that what changes together is
// aligned together.
const leastListing = 500 * time.Millisecond

type listOptions struct {
	allNamespaces bool
	name          string
	watch         bool
}

func (p *plugin) listCommand() *cobra.Command {
	var o listOptions
	rollouts := &cobra.Command{
		Use:     "rollouts",
		Aliases: []string{"rollout", "ro"},
		Short:   "List Rollouts, a line for each",
		Long: `List Rollouts, a line for each.

STEP is how many steps are done and how many there are, SET-WEIGHT the share of
pods that is wanted now for the new revision, READY how many pods are ready and
how many there are. With --watch a line is printed whenever it would read
differently, until Ctrl-C.`,
		Example: `  # All Rollouts of the namespace
  kubectl sluice list rollouts

  # Follow those of all namespaces
  kubectl sluice list rollouts --all-namespaces --watch`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.list(cmd.Context(), o) },
	}
	rollouts.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "List the Rollouts of all namespaces")
	rollouts.Flags().StringVar(&o.name, "name", "", "List only the Rollout of this name")
	rollouts.Flags().BoolVarP(&o.watch, "watch", "w", false, "Follow changes until Ctrl-C")
	completeFlag(rollouts, "name", p.completeRollouts)
	return group("list", "List Rollouts", rollouts)
}

func (p *plugin) list(ctx context.Context, o listOptions) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	namespace, options := c.namespace, metav1.ListOptions{}
	if o.allNamespaces {
		namespace = metav1.NamespaceAll
	}
	if o.name != "" {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, o.name).String()
	}
	table := &view.List{Namespaces: o.allNamespaces}
	client := c.sluice.SluiceV1alpha1().Rollouts(namespace)
	if !o.watch {
		all, err := client.List(ctx, options)
		if err != nil {
			return err
		}
		if len(all.Items) == 0 {
			p.foundNothing(namespace)
		}
		return writeLines(p.Out, table.Update(pointers(all.Items)))
	}
	feed := live.NewFeed[v1alpha1.Rollout]("Rollouts", client, options)
	if err := feed.Start(ctx); err != nil {
		return err
	}
	problems := problems{out: p.ErrOut}
	err = live.Run(ctx, live.Pace{Least: leastListing}, feed.Changed(), func() (bool, error) {
		problems.tell(feed.Problem())
		return false, writeLines(p.Out, table.Update(feed.Objects()))
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// foundNothing says so as kubectl does. The namespace is empty for all.
func (p *plugin) foundNothing(namespace string) {
	if namespace == metav1.NamespaceAll {
		fmt.Fprintln(p.ErrOut, "No resources found")
		return
	}
	fmt.Fprintf(p.ErrOut, "No resources found in %s namespace.\n", namespace)
}

func pointers[T any](items []T) []*T {
	result := make([]*T, 0, len(items))
	for i := range items {
		result = append(result, &items[i])
	}
	return result
}
