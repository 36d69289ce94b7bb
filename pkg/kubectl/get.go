// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/live"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// The pace of a watched tree: no faster than an eye follows, and often enough that ages move.
const (
	leastRepaint = 200 * time.Millisecond
	beatRepaint  = time.Second
)

type getOptions struct {
	watch   bool
	noColor bool
	timeout time.Duration
}

func (p *plugin) getCommand() *cobra.Command {
	var o getOptions
	rollout := &cobra.Command{
		Use:     "rollout NAME",
		Aliases: []string{"rollouts", "ro"},
		Short:   "Show a Rollout with its revisions, ReplicaSets and pods",
		Long: `Show a Rollout: where it stands, and the tree of its revisions, their ReplicaSets and pods.

The server computes the tree: it needs the right to get rollouttrees, with
--watch to list and watch them, and none on ReplicaSets and pods.

With --watch a terminal is repainted in place; in a pipe each change is printed
as a new block, without colours. Ctrl-C ends it, and so does --timeout, both with
exit code 0.`,
		Example: `  # Where does the Rollout demo stand?
  kubectl sluice get rollout demo

  # Follow an update
  kubectl sluice get rollout demo --watch`,
		Args:              oneRollout,
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			return p.get(cmd.Context(), name, o)
		},
	}
	rollout.Flags().BoolVarP(&o.watch, "watch", "w", false, "Follow changes until Ctrl-C")
	rollout.Flags().BoolVar(&o.noColor, "no-color", false, "Do not use colours, as if NO_COLOR were set")
	rollout.Flags().DurationVar(&o.timeout, "timeout", 0, "How long to follow, for example 5m; 0 is for ever")
	return group("get", "Show one Rollout", rollout)
}

func (p *plugin) get(ctx context.Context, name string, o getOptions) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	paint := p.painter(o.noColor)
	if o.watch {
		err = p.follow(ctx, c, name, paint)
		if errors.Is(err, context.Canceled) || exceeded(ctx, err) {
			return nil
		}
		return err
	}
	tree, err := c.sluice.SluiceV1alpha1().RolloutTrees(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return writeLines(p.Out, view.Rollout(tree, time.Now(), paint))
}

// follow shows a Rollout until the context ends or the Rollout is deleted.
func (p *plugin) follow(ctx context.Context, c *cluster, name string, paint view.Painter) error {
	feed := live.NewFeed[v1alpha1.RolloutTree]("the Rollout", c.sluice.SluiceV1alpha1().RolloutTrees(c.namespace), named(name))
	if err := feed.Start(ctx); err != nil {
		return err
	}
	all := feed.Objects()
	if len(all) == 0 {
		return apierrors.NewNotFound(v1alpha1.Resource("rollouttrees"), name)
	}
	first := all[0]
	var output display = &pipe{out: p.Out, problems: problems{out: p.ErrOut}}
	pace := live.Pace{Least: leastRepaint}
	if live.IsTerminal(p.Out) {
		screen, err := live.NewScreen(p.Out)
		if err != nil {
			return err
		}
		defer screen.Close()
		output, pace.Beat = &terminal{screen: screen}, beatRepaint
	}
	return live.Run(ctx, pace, feed.Changed(), func() (bool, error) {
		tree := same(feed.Objects(), first)
		if tree == nil {
			return false, deleted(name)
		}
		return false, output.show(tree, feed.Problem(), paint)
	})
}

// painter paints on a terminal, unless colours are not wanted.
func (p *plugin) painter(noColor bool) view.Painter {
	if live.IsTerminal(p.Out) && !noColor && os.Getenv("NO_COLOR") == "" {
		return view.ANSIColour
	}
	return view.NoColour
}

// named chooses the one object of a name.
func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}

// same finds an object as it is now; nil if it is gone. One of the same name that was created since is
// another one.
func same[T metav1.Object](all []T, first T) (now T) {
	for _, object := range all {
		if object.GetUID() == first.GetUID() && object.GetName() == first.GetName() {
			return object
		}
	}
	return now
}

func deleted(name string) error { return fmt.Errorf("%s was deleted", printed(name)) }
