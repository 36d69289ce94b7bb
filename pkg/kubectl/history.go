// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/view"
)

func (p *plugin) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history NAME",
		Short: "Show the revisions of a Rollout, and who did what to it",
		Long: `Show the revisions that a Rollout still has ReplicaSets of, with how each of them
ended, when, by whom and why, and its images. A template that was gone back to
counts as a new revision, and its old number is gone.

Then the newest 20 actions, as the server has recorded them: who called which
verb when, from which step to which, on which revision, what came of it, and why.

Oldest first. It needs the right to get the Rollout, and to list ReplicaSets.`,
		Example: `  # What happened?
  kubectl sluice history demo`,
		Args:              oneRollout,
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			return p.history(cmd.Context(), name)
		},
	}
}

func (p *plugin) history(ctx context.Context, name string) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	r, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// Who may not see ReplicaSets is shown the actions all the same.
	replicaSets, refusal := c.replicaSets(ctx, r)
	var lines []string
	if refusal == nil {
		lines = append(append(lines, view.Revisions(r, replicaSets)...), "")
	}
	if err := writeLines(p.Out, append(lines, view.Actions(r)...)); err != nil {
		return err
	}
	return refusal
}

// replicaSets are what may belong to a Rollout. Which of them do is told by their owners.
func (c *cluster) replicaSets(ctx context.Context, r *v1alpha1.Rollout) ([]*appsv1.ReplicaSet, error) {
	selector := r.Spec.Selector.DeepCopy()
	if selector == nil {
		selector = &metav1.LabelSelector{}
	}
	selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
		Key: rollouts.PodTemplateHashLabel, Operator: metav1.LabelSelectorOpExists,
	})
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector of %s: %w", printed(r.Name), err)
	}
	all, err := c.kube.AppsV1().ReplicaSets(r.Namespace).List(ctx, metav1.ListOptions{LabelSelector: parsed.String()})
	if err != nil {
		return nil, err
	}
	return pointers(all.Items), nil
}

// completeRevisions completes the revision to go back to.
func (p *plugin) completeRevisions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.complete(cmd, func(ctx context.Context, c *cluster) ([]string, error) {
		name, err := rolloutName(args[0])
		if err != nil {
			return nil, err
		}
		r, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		replicaSets, err := c.replicaSets(ctx, r)
		if err != nil {
			return nil, err
		}
		var revisions []string
		for _, rs := range replicaSets {
			if ref := metav1.GetControllerOfNoCopy(rs); ref != nil && ref.UID == r.UID && rs.Labels[rollouts.PodTemplateHashLabel] != r.Status.CurrentPodHash {
				revisions = append(revisions, strconv.FormatInt(view.Revision(rs), 10))
			}
		}
		return revisions, nil
	})
}
