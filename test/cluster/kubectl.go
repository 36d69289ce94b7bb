// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Output is what a command line has said.
type Output struct {
	// Args are the arguments of kubectl.
	Args []string
	// Stdout and Stderr are what it wrote.
	Stdout, Stderr string
	// Code is its exit code.
	Code int
}

// Command is the command as a person would type it.
func (o Output) Command() string {
	words := make([]string, 0, len(o.Args)+1)
	for _, arg := range append([]string{"kubectl"}, o.Args...) {
		words = append(words, quoted(arg))
	}
	return strings.Join(words, " ")
}

func quoted(word string) string {
	if word != "" && !strings.ContainsAny(word, " '\"{}[]*?$&|;<>()\\\n") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Err is nil if the command succeeded, and else says what it was and what it wrote.
func (o Output) Err() error {
	if o.Code == 0 {
		return nil
	}
	return fmt.Errorf("%s: exit code %d\n%s%s", o.Command(), o.Code, o.Stdout, o.Stderr)
}

// Kubectl runs stock kubectl as the administrator; the plugin is found as "kubectl sluice". An error means
// that it could not be run, not that it failed.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (Output, error) {
	return c.kubectl(ctx, c.KubectlCommand(ctx, args...), stdin, args)
}

// KubectlWith runs stock kubectl, as Kubectl does, with the preferences and aliases of a kuberc file. It is named by a
// flag, since kubectl 1.34 takes no notice of the variable KUBERC, unless that is off.
func (c *Cluster) KubectlWith(ctx context.Context, kuberc, stdin string, args ...string) (Output, error) {
	cmd := c.KubectlCommand(ctx, append(slices.Clip(args), "--kuberc="+kuberc)...)
	cmd.Env = append(cmd.Env, "KUBERC=")
	return c.kubectl(ctx, cmd, stdin, args)
}

// KubectlCommand is stock kubectl of the version of the host, as Kubectl runs it, for those who read what it prints
// while it runs.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.launcher.kubectl, args...)
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+filepath.Join(c.launcher.dir, "kubeconfig"),
		"KUBECACHEDIR="+filepath.Join(c.launcher.dir, "run", "kubectl"),
		"KUBERC=off", // What a person has set for himself must not change what is tested.
		"PATH="+c.launcher.binDir+string(os.PathListSeparator)+os.Getenv("PATH"),
	)
	return cmd
}

// kubectl runs the command and keeps what it says; args are those that a person would type.
func (c *Cluster) kubectl(ctx context.Context, cmd *exec.Cmd, stdin string, args []string) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	output := Output{Args: args, Stdout: stdout.String(), Stderr: stderr.String()}
	if cmd.ProcessState == nil {
		return output, fmt.Errorf("cannot run kubectl: %w", err)
	}
	output.Code = cmd.ProcessState.ExitCode()
	return output, ctx.Err()
}
