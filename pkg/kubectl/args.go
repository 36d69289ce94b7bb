// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// resourceNames are what may stand before a slash in front of the name of a Rollout.
var resourceNames = []string{"rollout", "rollouts", "ro", "rollout.sluice.dev", "rollouts.sluice.dev", "rollouts.v1alpha1.sluice.dev"}

// rolloutName takes a name as people type it, or as kubectl and this plugin print it: TYPE/NAME.
func rolloutName(arg string) (string, error) {
	kind, name, qualified := strings.Cut(arg, "/")
	if !qualified {
		kind, name = resourceNames[0], arg
	}
	switch {
	case !slices.Contains(resourceNames, kind):
		return "", fmt.Errorf("%q is not a Rollout: write NAME or rollout/NAME", arg)
	case name == "":
		return "", fmt.Errorf("the name of a Rollout must not be empty")
	}
	return name, nil
}

// oneRollout accepts exactly one argument, the name of a Rollout.
func oneRollout(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("exactly one NAME of a Rollout is required, not %d", len(args))
	}
	_, err := rolloutName(args[0])
	return err
}

// noArguments accepts none.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return nil
}

// printed is how a Rollout is named in messages, so that kubectl takes it as an argument.
func printed(name string) string { return "rollout.sluice.dev/" + name }
