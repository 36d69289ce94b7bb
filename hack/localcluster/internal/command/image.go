// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/hack/localcluster/internal/cluster"
	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
)

func newImage(flags *common) *cobra.Command {
	var output, push string
	var platforms []string
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "Build the images of Sluice and of the demo application for these platforms, and write them as OCI archives",
		Example: "  localcluster image --push registry.example.com/team/sluice-apiserver:v0.1.0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			architectures, err := architectures(platforms)
			if err != nil {
				return err
			}
			reporter := progress.New(os.Stderr)
			options := flags.options(component.NoSluice, 0, false)
			paths, err := cluster.BuildImages(cmd.Context(), options, output, architectures, reporter)
			reporter.Close()
			for _, path := range paths {
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			if err != nil || push == "" {
				return err
			}
			digest, err := cluster.PushServer(cmd.Context(), options, push, architectures)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "pushed "+push+"@"+digest)
			return nil
		},
	}
	cmd.Flags().StringVar(&push, "push", "", "name, with registry and tag, to push the image of Sluice to, as who is logged in by docker or podman")
	cmd.Flags().StringSliceVar(&platforms, "platforms", []string{"linux/amd64", "linux/arm64"}, "platforms that the images are for; all are built on this machine")
	cmd.Flags().StringVar(&output, "output", "_output/images", "folder of the archives, and of the bills of materials of Sluice")
	return cmd
}

// architectures are those of the platforms. Each is for Linux: nothing else runs images that are made from scratch.
func architectures(platforms []string) ([]string, error) {
	var all []string
	for _, platform := range platforms {
		arch, linux := strings.CutPrefix(platform, "linux/")
		if !linux || !slices.Contains([]string{"amd64", "arm64"}, arch) {
			return nil, fmt.Errorf("--platforms: %q is not known; linux/amd64 and linux/arm64 are", platform)
		}
		all = append(all, arch)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("--platforms must name one at least: linux/amd64 or linux/arm64")
	}
	return all, nil
}
