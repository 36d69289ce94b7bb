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

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/live"
	"sluice.dev/sluice/pkg/kubectl/view"
)

type statusOptions struct {
	watch   bool
	timeout time.Duration
}

func (p *plugin) statusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Wait until a Rollout is Healthy or Degraded",
		Long: `Print the phase of a Rollout whenever it changes, until it is Healthy or Degraded.

A pause does not end it: a Rollout may wait there for ever, and so does this
command unless --timeout is given. With --watch=false it prints the phase once.

Exit codes: 0 when Healthy; 1 when Degraded, after the timeout, and on any error.
With --watch=false 0 unless Degraded.`,
		Example: `  # Wait for the end of an update, ten minutes at most
  kubectl sluice status demo --timeout 10m

  # The phase now
  kubectl sluice status demo --watch=false`,
		Args:              oneRollout,
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			return p.status(cmd.Context(), name, o)
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", true, "Wait until the Rollout is Healthy or Degraded")
	cmd.Flags().DurationVarP(&o.timeout, "timeout", "t", 0, "How long to wait, for example 5m; 0 is for ever")
	return cmd
}

func (p *plugin) status(ctx context.Context, name string, o statusOptions) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	err = p.waitForStatus(ctx, c, name, o.watch)
	if exceeded(ctx, err) {
		return errors.New("Rollout status watch exceeded timeout")
	}
	return err
}

func (p *plugin) waitForStatus(ctx context.Context, c *cluster, name string, watch bool) error {
	first, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !watch {
		fmt.Fprintln(p.Out, phaseLine(first))
		_, err := finished(first)
		return err
	}
	feed := live.NewFeed[v1alpha1.Rollout]("the Rollout", c.sluice.SluiceV1alpha1().Rollouts(c.namespace), named(name))
	if err := feed.Start(ctx); err != nil {
		return err
	}
	last, problems := "", problems{out: p.ErrOut}
	return live.Run(ctx, live.Pace{}, feed.Changed(), func() (bool, error) {
		problems.tell(feed.Problem())
		r := same(feed.Objects(), first)
		if r == nil {
			return false, deleted(name)
		}
		if line := phaseLine(r); line != last {
			fmt.Fprintln(p.Out, line)
			last = line
		}
		return finished(r)
	})
}

func phaseLine(r *v1alpha1.Rollout) string {
	phase, message := view.Phase(r)
	if message == "" {
		return string(phase)
	}
	return fmt.Sprintf("%s - %s", phase, message)
}

// finished says whether there is nothing more to wait for, with an error if it did not go well.
func finished(r *v1alpha1.Rollout) (bool, error) {
	switch phase, message := view.Phase(r); phase {
	case v1alpha1.RolloutPhaseHealthy:
		return true, nil
	case v1alpha1.RolloutPhaseDegraded:
		return true, fmt.Errorf("The rollout is in a degraded state with message: %s", message)
	}
	return false, nil
}
