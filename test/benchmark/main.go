// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"sluice.dev/sluice/test/cluster"
)

// errMissed ends the program with exit code 1 if --strict is set.
var errMissed = errors.New("a goal was missed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		stop()
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	// only are the parts that are measured.
	only                   []string
	workloads, replicas    int
	samples, runs          int
	rounds, verbs, callers int
	replicaSets, frames    int
	rollouts               int
	idle                   time.Duration
	seed                   uint64
	order                  string
	dir, profile           string
	markdown, strict       bool
	// given are the flags that say what is measured, as they were given.
	given []string
}

func parse(args []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet("benchmark", pflag.ContinueOnError)
	flags.StringSliceVar(&o.only, "only", parts, "which parts are measured")
	flags.IntVar(&o.workloads, "workloads", 100, "how many Deployments, and how many Rollouts, are updated")
	flags.IntVar(&o.replicas, "replicas", 5, "how many pods each of them has")
	flags.IntVar(&o.samples, "samples", 200, "how many promotes are measured at least")
	flags.IntVar(&o.rounds, "rounds", 200, "in how many rounds many promote the same step at once")
	flags.Uint64Var(&o.seed, "seed", 1, "what is random in these rounds follows from it, and from the number of the run")
	flags.IntVar(&o.verbs, "verbs", 1000, "how many verbs are called, each on a Rollout of its own")
	flags.IntVar(&o.callers, "callers", 16, "how many clients call them at the same time")
	flags.IntVar(&o.replicaSets, "replicasets", 10_000, "how many ReplicaSets are in the cluster when trees are drawn; a multiple of 1000")
	flags.IntVar(&o.frames, "frames", 100, "how many trees are drawn")
	flags.IntVar(&o.rollouts, "rollouts", 10_000, "how many Rollouts there are that nothing happens to, and as many Deployments; a multiple of 10")
	flags.DurationVar(&o.idle, "idle", 10*time.Minute, "for how long nothing happens to them; at least 1s")
	flags.IntVar(&o.runs, "runs", 1, "how often all is measured; the results are medians")
	flags.StringVar(&o.order, "order", orderAlternate, "which kind comes first: deployment, rollout, or alternate for another one in each run")
	flags.StringVar(&o.dir, "dir", "", "folder of a control plane that is up already (default: one is started for this, and stopped)")
	flags.StringVar(&o.profile, "profile", "", "folder for CPU profiles of sluice-apiserver during the updates; profiling costs time")
	flags.BoolVar(&o.markdown, "markdown", false, "write the results to "+resultsFile+" too")
	flags.BoolVar(&o.strict, "strict", false, "end with exit code 1 if a goal was missed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; there are only flags, see --help", flags.Arg(0))
	case min(o.workloads, o.replicas, o.samples, o.runs, o.rounds, o.verbs, o.callers, o.frames) < 1:
		return o, errors.New("--workloads, --replicas, --samples, --runs, --rounds, --verbs, --callers and --frames must be at least 1")
	case o.replicaSets < 1000 || o.replicaSets%1000 != 0:
		return o, errors.New("--replicasets must be a multiple of 1000")
	case o.rollouts < 10 || o.rollouts%10 != 0:
		return o, errors.New("--rollouts must be a multiple of 10")
	case o.idle < time.Second:
		return o, errors.New("--idle must be at least 1s")
	}
	for _, part := range o.only {
		if !slices.Contains(parts, part) {
			return o, fmt.Errorf("--only=%s is not known; the parts are %s", part, strings.Join(parts, ", "))
		}
	}
	flags.Visit(func(flag *pflag.Flag) {
		switch flag.Name {
		case "dir", "profile", "markdown", "strict": // They do not change what is measured.
		default:
			o.given = append(o.given, fmt.Sprintf("--%s=%s", flag.Name, strings.Trim(flag.Value.String(), "[]")))
		}
	})
	_, err := kinds(o.order, 0)
	return o, err
}

// measures says whether a part is measured.
func (o options) measures(part string) bool { return slices.Contains(o.only, part) }

// possible leaves out what this machine cannot do, and says so.
func possible(ctx context.Context, o options) (options, error) {
	if !o.measures(partPods) {
		return o, nil
	}
	missing, err := cluster.Missing(ctx)
	if err != nil || missing == "" {
		return o, err
	}
	progress("not measured: %s; what is missing is %s", partPods, missing)
	o.only = slices.DeleteFunc(slices.Clone(o.only), func(part string) bool { return part == partPods })
	if len(o.only) == 0 {
		return o, errors.New("nothing is left to be measured")
	}
	return o, nil
}

// command is what repeats this.
func (o options) command() string {
	return strings.Join(append([]string{"go run ./test/benchmark"}, o.given...), " ")
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	repository, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(repository, "hack", "localcluster")); err != nil {
		return errors.New("this is not the root of the source tree; go there first")
	}
	if o, err = possible(ctx, o); err != nil {
		return err
	}
	runs, err := measure(ctx, o, repository)
	if err != nil {
		return err
	}
	r := results{options: o, time: time.Now(), runs: runs}
	if err := r.text(os.Stdout); err != nil {
		return err
	}
	if o.markdown {
		if err := r.save(filepath.Join(repository, resultsFile)); err != nil {
			return err
		}
	}
	if o.strict && r.anyMissed() {
		return errMissed
	}
	return nil
}
