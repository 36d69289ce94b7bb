// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	typed "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
)

// verb is a subresource that is called.
type verb struct {
	call call
	// looksFirst is true if the call is meant for what the Rollout is now, and for nothing else.
	looksFirst bool
}

// verbCommand makes the command of a verb, with the flags that all of them have.
func (p *plugin) verbCommand(use string, v verb) *cobra.Command {
	var flags requestFlags
	cmd := &cobra.Command{
		Use:               use,
		Args:              oneRollout,
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			return p.perform(cmd.Context(), name, v, &flags)
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *plugin) promoteCommand() *cobra.Command {
	full, override := false, false
	cmd := p.verbCommand("promote NAME", verb{looksFirst: true, call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Promote(ctx, name, &v1alpha1.Promotion{VerbRequest: request, Full: full, Override: override}, options)
		return reply.Status, err
	}})
	cmd.Short = "Go on to the next step of an update, or approve it"
	cmd.Long = `End the pause or the step that an update is at, so that it goes on with the next.

At a step that asks for approval it counts as the approval of the caller, and
ends the step if it is the last one missing.

One call moves it one step. The Rollout is read first, and the call is for the
step and the revision that it is at: if somebody else promotes at the same time,
or another version comes in between, nothing is done. --expect-step and
--expect-revision say instead what was reviewed.

With --full all remaining steps and pauses are skipped, and an abort is cleared.
--override ends a step without the approvals that it asks for; so does --full.
Both need the RBAC verb override on rollouts.sluice.dev then.

Refused if no update is in flight, if it was aborted, and while spec.paused is
set.`
	cmd.Example = `  # Go on after a pause
  kubectl sluice promote demo

  # Only what was reviewed: revision 7, at step 3
  kubectl sluice promote demo --expect-revision 7 --expect-step 3 --reason "error rate is flat"

  # Skip all remaining steps
  kubectl sluice promote demo --full

  # What would happen?
  kubectl sluice promote demo --dry-run=server`
	cmd.Flags().BoolVar(&full, "full", false, "Skip all remaining steps and pauses")
	cmd.Flags().BoolVar(&override, "override", false, "Do without the approvals that the step asks for")
	return cmd
}

func (p *plugin) abortCommand() *cobra.Command {
	cmd := p.verbCommand("abort NAME", verb{call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Abort(ctx, name, &v1alpha1.Abort{VerbRequest: request}, options)
		return reply.Status, err
	}})
	cmd.Short = "Take an update back"
	cmd.Long = `Take an update back: all pods return to the stable revision.

The Rollout is Degraded afterwards, since what its spec asks for does not run. It
becomes Healthy when the spec goes back to the stable version, or after a retry.`
	cmd.Example = `  # Back to the stable version
  kubectl sluice abort demo --reason "5xx since 14:02"`
	return cmd
}

func (p *plugin) retryCommand() *cobra.Command {
	retry := verb{call: func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error) {
		reply, err := rollouts.Retry(ctx, name, &v1alpha1.Retry{VerbRequest: request}, options)
		return reply.Status, err
	}}
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
