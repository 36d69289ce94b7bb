// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// completionTimeout is how long somebody who pressed Tab is kept waiting.
const completionTimeout = 3 * time.Second

type completer func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeRollouts completes the name of a Rollout as the first argument.
func (p *plugin) completeRollouts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.complete(cmd, func(ctx context.Context, c *cluster) ([]string, error) {
		all, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		var names []string
		for i := range all.Items {
			names = append(names, all.Items[i].Name)
		}
		return names, nil
	})
}

// completeContainers completes the name of a Rollout, and after it those of its containers.
func (p *plugin) completeContainers(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.completeRollouts(cmd, args, toComplete)
	}
	names, directive := p.complete(cmd, func(ctx context.Context, c *cluster) ([]string, error) {
		name, err := rolloutName(args[0])
		if err != nil {
			return nil, err
		}
		r, err := c.sluice.SluiceV1alpha1().Rollouts(c.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		var names []string
		for i := range r.Spec.Template.Spec.InitContainers {
			names = append(names, r.Spec.Template.Spec.InitContainers[i].Name+"=")
		}
		for i := range r.Spec.Template.Spec.Containers {
			names = append(names, r.Spec.Template.Spec.Containers[i].Name+"=")
		}
		return names, nil
	})
	return names, directive | cobra.ShellCompDirectiveNoSpace
}

// completeKubeconfig completes the flags whose values are names in the kubeconfig.
func completeKubeconfig(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	names := func(of func(clientcmdapi.Config) iter.Seq[string]) completer {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			config, err := flags.ToRawKubeConfigLoader().RawConfig()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return slices.Sorted(of(config)), cobra.ShellCompDirectiveNoFileComp
		}
	}
	completeFlag(root, "context", names(func(c clientcmdapi.Config) iter.Seq[string] { return maps.Keys(c.Contexts) }))
	completeFlag(root, "cluster", names(func(c clientcmdapi.Config) iter.Seq[string] { return maps.Keys(c.Clusters) }))
	completeFlag(root, "user", names(func(c clientcmdapi.Config) iter.Seq[string] { return maps.Keys(c.AuthInfos) }))
}

// completeNamespaces completes the flag --namespace.
func completeNamespaces(p *plugin, root *cobra.Command) {
	completeFlag(root, "namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return p.complete(cmd, func(ctx context.Context, c *cluster) ([]string, error) {
			all, err := c.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			var names []string
			for i := range all.Items {
				names = append(names, all.Items[i].Name)
			}
			return names, nil
		})
	})
}

// completeFlag completes the value of a flag that the command has.
func completeFlag(cmd *cobra.Command, name string, complete completer) {
	if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err) // The flag does not exist: a mistake in this package, found by any test.
	}
}

// complete asks the cluster, and offers nothing if it does not answer.
func (p *plugin) complete(cmd *cobra.Command, ask func(context.Context, *cluster) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(withoutPatience(cmd.Context()), completionTimeout)
	defer cancel()
	c, err := p.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
