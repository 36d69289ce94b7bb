// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
)

const (
	// commandName is the name of the binary, by which kubectl finds it as the plugin "sluice".
	commandName = "kubectl-sluice"
	// completerName is the name under which kubectl runs the binary to complete a command line.
	completerName = "kubectl_complete-sluice"
)

// The exit codes of the plugin.
const (
	exitOK          = 0
	exitFailed      = 1
	exitInterrupted = 130
)

// plugin is what all commands share: where to write, and how to reach the cluster.
type plugin struct {
	genericiooptions.IOStreams
	connect func() (*cluster, error)
	// detachInterval is the time between two looks at what is left to detach.
	detachInterval time.Duration
	// now tells the time.
	now func() time.Time
	// usage is true until the arguments of the command have been accepted.
	usage bool
}

// Main runs the plugin with the arguments of the process, its own name first, and returns its exit code.
func Main(args []string, streams genericiooptions.IOStreams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// The first signal ends the command in good order, a second one at once.
	context.AfterFunc(ctx, stop)

	flags := genericclioptions.NewConfigFlags(true).WithWarningPrinter(streams)
	p := &plugin{
		IOStreams:      streams,
		connect:        func() (*cluster, error) { return connect(flags) },
		detachInterval: 500 * time.Millisecond,
		now:            time.Now,
	}
	rest := slices.Clone(args[1:])
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == completerName {
		rest = slices.Insert(rest, 0, cobra.ShellCompRequestCmd)
	}
	return p.run(ctx, flags, rest)
}

// run executes one command line and reports how it ended.
func (p *plugin) run(ctx context.Context, flags *genericclioptions.ConfigFlags, args []string) int {
	root := p.command(flags)
	root.SetArgs(args)
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case p.usage:
		fmt.Fprintf(p.ErrOut, "error: %v\nSee '%s --help' for usage.\n", err, command.CommandPath())
	default:
		for _, line := range explained(err) {
			fmt.Fprintln(p.ErrOut, line)
		}
	}
	return exitFailed
}

// command builds the whole tree of commands.
func (p *plugin) command(flags *genericclioptions.ConfigFlags) *cobra.Command {
	p.usage = true
	root := &cobra.Command{
		Use:   commandName,
		Short: "See and steer Rollouts",
		Long: `See and steer Rollouts (rollouts.sluice.dev).

A Rollout moves its pods from one version to the next in steps. The commands here
show where it stands, and make it go on, go back or start again. Each of them is
a subresource that any client can call; this plugin is the comfortable way to.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl sluice"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			p.usage = false
		},
	}
	root.SetUsageTemplate(withoutGlobalFlags(root.UsageTemplate()))
	flags.AddFlags(root.PersistentFlags())
	addVerbosity(root)
	completeNamespaces(p, root)
	completeKubeconfig(root, flags)
	addGroup(root, "Commands that look:",
		p.getCommand(), p.listCommand(), p.statusCommand(), p.explainCommand(), p.planCommand(), p.historyCommand())
	addGroup(root, "Commands that steer:",
		p.setCommand(), p.promoteCommand(), p.abortCommand(), p.retryCommand(), p.undoCommand(),
		p.pauseCommand(), p.resumeCommand(), p.restartCommand())
	root.AddCommand(p.migrateCommand(), p.detachCommand(), p.versionCommand())
	return root
}

// addGroup adds commands under a title of their own in the help.
func addGroup(root *cobra.Command, title string, children ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, child := range children {
		child.GroupID = title
	}
	root.AddCommand(children...)
}

// withoutGlobalFlags keeps the connection flags, which are the same for every command, out of the usage of
// each, where they would bury its own. Those of the root are shown.
func withoutGlobalFlags(template string) string {
	const list = "Global Flags:\n{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}"
	return strings.Replace(template, list, "'kubectl sluice --help' lists the flags that choose the cluster and the namespace.", 1)
}

// addVerbosity adds -v, which shows the requests that are made, as it does in kubectl.
func addVerbosity(root *cobra.Command) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	verbosity := all.Lookup("v")
	verbosity.Usage = "How much to log to standard error; 6 shows every request"
	root.PersistentFlags().AddGoFlag(verbosity)
}

// group makes a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noSuchCommand(cmd, args)
			}
			return fmt.Errorf("say what to %s: %s", cmd.Name(), strings.Join(childNames(cmd), " or "))
		},
		// Cobra checks the arguments only of commands that can run. Those of a group never pass.
		Run: func(*cobra.Command, []string) {},
	}
	cmd.AddCommand(children...)
	return cmd
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if close := cmd.SuggestionsFor(args[0]); len(close) > 0 {
		return fmt.Errorf("%s; did you mean %s?", message, strings.Join(close, " or "))
	}
	return fmt.Errorf("%s; there is %s", message, strings.Join(childNames(cmd), ", "))
}

func childNames(cmd *cobra.Command) []string {
	var names []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	return names
}
