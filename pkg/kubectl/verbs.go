// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// verb is a call of a subresource. It returns what to say after the name of the Rollout.
type verb func(ctx context.Context, c *cluster, name string) (string, error)

func (p *plugin) promoteCommand() *cobra.Command {
	full := false
	cmd := p.verbCommand("promote NAME", func(ctx context.Context, c *cluster, name string) (string, error) {
		reply, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Promote(ctx, name, &v1alpha1.Promotion{Full: full}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		if full {
			return "fully promoted", nil
		}
		return "promoted" + c.stepAfter(ctx, name, reply.Status), nil
	})
	cmd.Short = "Go on to the next step of an update"
	cmd.Long = `End the pause or the step that an update is at, so that it goes on with the next.

One call moves it one step. With --full all remaining steps and pauses are
skipped, and an abort is cleared. Refused if no update is in flight, if it was
aborted, and while spec.paused is set.`
	cmd.Example = `  # Go on after a pause
  kubectl sluice promote demo

  # Skip all remaining steps
  kubectl sluice promote demo --full`
	cmd.Flags().BoolVar(&full, "full", false, "Skip all remaining steps and pauses")
	return cmd
}

func (p *plugin) abortCommand() *cobra.Command {
	cmd := p.verbCommand("abort NAME", func(ctx context.Context, c *cluster, name string) (string, error) {
		_, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Abort(ctx, name, &v1alpha1.Abort{}, metav1.CreateOptions{})
		return "aborted", err
	})
	cmd.Short = "Take an update back"
	cmd.Long = `Take an update back: all pods return to the stable revision.

The Rollout is Degraded afterwards, since what its spec asks for does not run. It
becomes Healthy when the spec goes back to the stable version, or after a retry.`
	cmd.Example = `  # Back to the stable version
  kubectl sluice abort demo`
	return cmd
}

func (p *plugin) retryCommand() *cobra.Command {
	retry := func(ctx context.Context, c *cluster, name string) (string, error) {
		reply, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Retry(ctx, name, &v1alpha1.Retry{}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return "retried" + c.stepAfter(ctx, name, reply.Status), nil
	}
	cmd, named := p.verbCommand("retry NAME", retry), p.verbCommand("rollout NAME", retry)
	cmd.Short = "Start an aborted update again"
	cmd.Long = `Start an aborted update again, at its first step.

'kubectl sluice retry rollout NAME' is the same. Refused if the update was not
aborted.`
	cmd.Example = `  # Try the same version once more
  kubectl sluice retry demo`
	named.Short, named.Aliases = cmd.Short, []string{"rollouts", "ro"}
	cmd.AddCommand(named)
	return cmd
}

// verbCommand makes the command of a verb.
func (p *plugin) verbCommand(use string, act verb) *cobra.Command {
	return &cobra.Command{
		Use:               use,
		Args:              oneRollout,
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			c, err := p.connect()
			if err != nil {
				return err
			}
			done, err := act(cmd.Context(), c, name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.Out, "%s %s\n", printed(name), done)
			return err
		},
	}
}

// stepAfter names the step that a verb led to, out of the number of steps if that can be read: whoever may
// promote need not be allowed to look.
func (c *cluster) stepAfter(ctx context.Context, name string, status v1alpha1.VerbStatus) string {
	if status.CurrentStepIndex == nil {
		return ""
	}
	r, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil || view.Steps(r) == 0 {
		return fmt.Sprintf(": step %d", *status.CurrentStepIndex)
	}
	return fmt.Sprintf(": step %d/%d", *status.CurrentStepIndex, view.Steps(r))
}
