// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	typed "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
)

// The verbs that change the spec.

func (p *plugin) pauseCommand() *cobra.Command {
	cmd := p.verbCommand("pause NAME", verb{call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Pause(ctx, name, &v1alpha1.Pause{VerbRequest: request}, options)
		return reply.Status, err
	}})
	cmd.Short = "Freeze a Rollout where it is"
	cmd.Long = `Freeze a Rollout where it is: sets spec.paused. No pods are moved any more, and it
cannot be promoted, until it is resumed. An abort works all the same.`
	cmd.Example = `  # Stop, to look closer
  kubectl sluice pause demo --reason "latency looks odd"`
	return cmd
}

func (p *plugin) resumeCommand() *cobra.Command {
	cmd := p.verbCommand("resume NAME", verb{call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Resume(ctx, name, &v1alpha1.Resume{VerbRequest: request}, options)
		return reply.Status, err
	}})
	cmd.Short = "Unfreeze a Rollout"
	cmd.Long = `End a pause by hand: unsets spec.paused. It does not promote: an update that waits
in a pause step waits on.`
	cmd.Example = `  # Go on where it was
  kubectl sluice resume demo`
	return cmd
}

func (p *plugin) restartCommand() *cobra.Command {
	in := time.Duration(0)
	var at *metav1.Time
	cmd := p.verbCommand("restart NAME", verb{call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Restart(ctx, name, &v1alpha1.Restart{VerbRequest: request, At: at}, options)
		return reply.Status, err
	}})
	cmd.Short = "Replace the pods by new ones of the same version"
	cmd.Long = `Replace the pods that exist now by new ones of the same version, a few at a time.

They are evicted, so a PodDisruptionBudget can hold that up. With --in it begins
after that time, and pods that are created until then are replaced too.`
	cmd.Example = `  # Restart now
  kubectl sluice restart demo

  # In half an hour
  kubectl sluice restart demo --in 30m`
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if in < 0 {
			return errors.New("--in must not be negative: give 30m for half an hour from now")
		}
		if cmd.Flags().Changed("in") {
			at = ptr.To(wholeSecond(p.now().Add(in)))
		}
		return oneRollout(cmd, args)
	}
	cmd.Flags().DurationVar(&in, "in", 0, "How long from now to begin, for example 30m; at once if not given")
	completeFlag(cmd, "in", nothing)
	return cmd
}

// wholeSecond rounds up, as the server does for a restart at once.
func wholeSecond(t time.Time) metav1.Time {
	return metav1.NewTime(t.Add(time.Second - 1).Truncate(time.Second))
}

func (p *plugin) undoCommand() *cobra.Command {
	var to wholeNumber
	cmd := p.verbCommand("undo NAME", verb{call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Undo(ctx, name, &v1alpha1.Undo{VerbRequest: request, ToRevision: ptr.Deref(to.long(), 0)}, options)
		return reply.Status, err
	}})
	cmd.Short = "Put the template of an earlier revision back"
	cmd.Long = `Put the template of an earlier revision back into the spec.

That starts an update to it, with all its steps; going back to the stable
revision ends the update in flight at once. Without --to-revision it is the last
revision that was fully promoted before the current one. One that was aborted
must be named. 'kubectl sluice history' shows what there is.`
	cmd.Example = `  # Back to the version before
  kubectl sluice undo demo

  # To a certain one
  kubectl sluice undo demo --to-revision 4 --reason "INC-2041"`
	cmd.Flags().Var(&to, "to-revision", "The revision to go back to; if not given, or 0, the last one that was promoted")
	completeFlag(cmd, "to-revision", p.completeRevisions)
	return cmd
}
