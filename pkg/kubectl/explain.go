// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/kubectl/view"
)

func (p *plugin) explainCommand() *cobra.Command {
	noColor := false
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Say why a Rollout does not go on, and what would move it",
		Long: `Say why a Rollout stands where it stands: each thing that keeps it from going on,
since when, what it is, and the call that would move it. What to look at first is
in front. If nothing blocks it, it says so.

It needs the right to get rollouts/explain, and none on pods.`,
		Example: `  # Why is it stuck?
  kubectl sluice explain demo`,
		Args:              oneRollout,
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			return p.explain(cmd.Context(), name, p.painter(noColor))
		},
	}
	cmd.Flags().BoolVar(&noColor, "no-color", false, "Do not use colours, as if NO_COLOR were set")
	return cmd
}

func (p *plugin) explain(ctx context.Context, name string, paint view.Painter) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	explanation, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Explain(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return writeLines(p.Out, view.Explanation(explanation, p.now(), paint))
}
