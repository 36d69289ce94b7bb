// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	paint := view.NoColour
	if live.IsTerminal(p.Out) && !o.noColor && os.Getenv("NO_COLOR") == "" {
		paint = view.ANSIColour
	}
	first, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !o.watch {
		snapshot, err := c.snapshot(ctx, first)
		if err != nil {
			return err
		}
		return writeLines(p.Out, view.Rollout(snapshot, time.Now(), paint))
	}
	err = p.follow(ctx, c, first, paint)
	if errors.Is(err, context.Canceled) || exceeded(ctx, err) {
		return nil
	}
	return err
}

// follow shows a Rollout until the context ends or the Rollout is deleted.
func (p *plugin) follow(ctx context.Context, c *cluster, first *v1alpha1.Rollout, paint view.Painter) error {
	feed := live.NewFeed()
	current, err := c.followRollout(feed, first)
	if err != nil {
		return err
	}
	if err := feed.Start(ctx); err != nil {
		return err
	}
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
		snapshot, err := current()
		if err != nil {
			return false, err
		}
		return false, output.show(snapshot, feed.Problem(), paint)
	})
}
