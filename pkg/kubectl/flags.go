// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// wholeNumber is a flag that knows whether it was given.
type wholeNumber struct{ value *int32 }

// String prints the number; nothing if it was not given.
func (n *wholeNumber) String() string {
	if n.value == nil {
		return ""
	}
	return strconv.Itoa(int(*n.value))
}

// Set takes the number; it fails if it is none, or negative.
func (n *wholeNumber) Set(text string) error {
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil || number < 0 {
		return errors.New("must be a whole number, 0 or greater")
	}
	n.value = ptr.To(int32(number))
	return nil
}

// Type is what the help calls the value.
func (*wholeNumber) Type() string { return "int" }

// long is the number as the API has revisions; nil if it was not given.
func (n *wholeNumber) long() *int64 {
	if n.value == nil {
		return nil
	}
	return ptr.To(int64(*n.value))
}

// The values of --dry-run.
const (
	dryRunNone   = "none"
	dryRunServer = "server"
)

// dryRun is the flag --dry-run.
type dryRun struct{ server bool }

// String prints the value of the flag.
func (d *dryRun) String() string {
	if d.server {
		return dryRunServer
	}
	return dryRunNone
}

// Set takes the value of the flag; it fails unless that is none or server.
func (d *dryRun) Set(text string) error {
	if text != dryRunNone && text != dryRunServer {
		return errors.New("must be none or server: only the server knows what a verb does")
	}
	d.server = text == dryRunServer
	return nil
}

// Type is what the help calls the value.
func (*dryRun) Type() string { return "none|server" }

// requestFlags are the flags that every verb has.
type requestFlags struct {
	reason         string
	step, revision wholeNumber
	dryRun         dryRun
}

func (f *requestFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "Why, for the history of the Rollout and its Event; 1024 characters at most")
	flags.Var(&f.step, "expect-step", "Do nothing unless the update is at this step, counted from 0")
	flags.Var(&f.revision, "expect-revision", "Do nothing unless this is the revision of the template")
	flags.Var(&f.dryRun, "dry-run", "With server the server says what it would do, and does nothing")
	completeFlag(cmd, "reason", nothing)
	completeFlag(cmd, "expect-step", nothing)
	completeFlag(cmd, "expect-revision", nothing)
	completeFlag(cmd, "dry-run", cobra.FixedCompletions([]string{dryRunNone, dryRunServer}, cobra.ShellCompDirectiveNoFileComp))
}

// nothing completes what only the user can know.
func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// expectation is what the flags say that the Rollout must be.
func (f *requestFlags) expectation() v1alpha1.VerbExpectation {
	return v1alpha1.VerbExpectation{StepIndex: f.step.value, Revision: f.revision.long()}
}

// given says whether the flags expect anything.
func (f *requestFlags) given() bool { return f.step.value != nil || f.revision.value != nil }

// options are those of the request.
func (f *requestFlags) options() metav1.CreateOptions {
	options := metav1.CreateOptions{FieldManager: fieldManager}
	if f.dryRun.server {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return options
}

// suffix marks what was only tried.
func (f *requestFlags) suffix() string {
	if f.dryRun.server {
		return " (server dry run)"
	}
	return ""
}
