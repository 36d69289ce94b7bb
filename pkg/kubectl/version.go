// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/version"
)

func (p *plugin) versionCommand() *cobra.Command {
	clientOnly := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the plugin and of the server",
		Long: `Print the version of the plugin, the versions of the API that the server of Sluice
serves, and the version of Kubernetes.

The build of the server is not among them, since the API server in front of it
answers that question for itself: it is the tag of its image.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.version(cmd.Context(), clientOnly) },
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "Print only the version of the plugin, without a request")
	return cmd
}

func (p *plugin) version(ctx context.Context, clientOnly bool) error {
	fmt.Fprintf(p.Out, "Client:      %s\n", version.Version)
	if clientOnly {
		return nil
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	host, err := c.kube.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	groups, err := c.sluice.Discovery().ServerGroups()
	if err != nil {
		return err
	}
	for _, group := range groups.Groups {
		if group.Name != rollouts.GroupName {
			continue
		}
		for _, served := range group.Versions {
			fmt.Fprintf(p.Out, "Server API:  %s\n", served.GroupVersion)
		}
		fmt.Fprintf(p.Out, "Kubernetes:  %s\n", host.GitVersion)
		return nil
	}
	fmt.Fprintf(p.Out, "Kubernetes:  %s\n", host.GitVersion)
	return fmt.Errorf("this cluster does not serve the API group %s: is Sluice installed?", rollouts.GroupName)
}
