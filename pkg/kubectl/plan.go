// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/view"
)

func (p *plugin) planCommand() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use:   "plan [NAME] [-f FILE]",
		Short: "Show what an update will do, step by step",
		Long: `Show what will happen: for each step the weight, the pods of the stable version and
of the new one, how many pods there are at most, and what it waits for. The
server reckons it with the engine that runs the Rollout; nothing is changed.

Without a file it is about the Rollout as it is. With one it is about what would
happen if that manifest were applied: its template, strategy and replicas are
sent. A file may hold other objects too; NAME chooses among several Rollouts.

It needs the right to get rollouts/plan, with a file to create it.`,
		Example: `  # What is still to come?
  kubectl sluice plan demo

  # What would this change do?
  kubectl sluice plan -f rollout.yaml

  # The same from a pipe
  kustomize build . | kubectl sluice plan demo -f -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && file != "" {
				return nil
			}
			if len(args) == 0 {
				return errors.New("give the NAME of a Rollout, or a manifest with -f")
			}
			return oneRollout(cmd, args)
		},
		ValidArgsFunction: p.completeRollouts,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name, _ = rolloutName(args[0])
			}
			return p.plan(cmd.Context(), name, file)
		},
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "A manifest of the Rollout as it is to be; - is standard input")
	return cmd
}

func (p *plugin) plan(ctx context.Context, name, file string) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	reckoned, err := p.reckon(ctx, c, name, file)
	if err != nil {
		return err
	}
	return writeLines(p.Out, view.Plan(reckoned))
}

func (p *plugin) reckon(ctx context.Context, c *cluster, name, file string) (*v1alpha1.RolloutPlan, error) {
	if file == "" {
		return c.sluice.SluiceV1alpha1().Rollouts(c.namespace).GetPlan(ctx, name, metav1.GetOptions{})
	}
	wanted, err := p.readManifest(file, name)
	if err != nil {
		return nil, err
	}
	namespace, err := c.namespaceOf(wanted)
	if err != nil {
		return nil, err
	}
	change := &v1alpha1.RolloutPlan{Spec: v1alpha1.RolloutPlanSpec{
		Template: &wanted.Spec.Template, Strategy: &wanted.Spec.Strategy, Replicas: wanted.Spec.Replicas,
	}}
	return c.sluice.SluiceV1alpha1().Rollouts(namespace).Plan(ctx, wanted.Name, change, metav1.CreateOptions{})
}

// namespaceOf is where an object of a file belongs: where the file says or, if it does not, where the flags
// say. Both saying different things is an error, as it is in kubectl.
func (c *cluster) namespaceOf(object metav1.Object) (string, error) {
	switch namespace := object.GetNamespace(); {
	case namespace == "":
		return c.namespace, nil
	case c.enforced && namespace != c.namespace:
		return "", fmt.Errorf("the namespace of %s in the file is %s, but --namespace is %s", printed(object.GetName()), namespace, c.namespace)
	default:
		return namespace, nil
	}
}
