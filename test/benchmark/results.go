// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/figures"
	"sluice.dev/sluice/test/benchmark/internal/load"
	"sluice.dev/sluice/test/benchmark/internal/plane"
)

// resultsFile is where --markdown writes, in the source tree.
const resultsFile = "docs/benchmarks.md"

// The goals. The first two are ratios to the Deployments', the next two numbers per workload and update,
// the last two milliseconds.
const (
	goalTime         = 1.4
	goalCPU          = 1.3
	goalHostWrites   = 14
	goalStatusWrites = 12
	goalPromoteP50   = 15
	goalPromoteP99   = 40
)

// results are the figures of all runs.
type results struct {
	options
	time time.Time
	runs []measured
}

// median of a figure over all runs.
func (r results) median(figure func(measured) float64) float64 {
	var values []float64
	for _, run := range r.runs {
		values = append(values, figure(run))
	}
	return figures.Median(values)
}

// both are the medians of a figure of both kinds.
func (r results) both(figure func(load.Update) float64) (deployment, sluice float64) {
	return r.median(func(m measured) float64 { return figure(m.deployment) }),
		r.median(func(m measured) float64 { return figure(m.rollout) })
}

// perWorkload is the median of a number of requests of Sluice for one workload.
func (r results) perWorkload(number func(load.Counts) float64) float64 {
	return r.median(func(m measured) float64 { return number(m.rollout.Counts) }) / float64(r.workloads)
}

// latency is the median of a percentile, in milliseconds.
func (r results) latency(times func(load.Latency) []time.Duration, percentile float64) float64 {
	return r.median(func(m measured) float64 {
		return float64(figures.Percentile(times(m.latency), percentile)) / float64(time.Millisecond)
	})
}

// rows are the measures that have goals.
func (r results) rows() []figures.Row {
	compared := func(measure string, decimals int, goal float64, figure func(load.Update) float64) figures.Row {
		deployment, sluice := r.both(figure)
		return figures.Compared(measure, deployment, sluice, decimals, goal)
	}
	reply := func(l load.Latency) []time.Duration { return l.Reply }
	scaled := func(l load.Latency) []time.Duration { return l.Scaled }
	return []figures.Row{
		compared("update, all complete (s)", 1, goalTime, func(u load.Update) float64 { return u.Duration.Seconds() }),
		compared("CPU of all processes (s)", 1, goalCPU, func(u load.Update) float64 { return u.CPU.Total().Seconds() }),
		figures.Alone("writes to the host per workload", r.perWorkload(load.Counts.Host), 1, goalHostWrites),
		figures.Alone("status writes to the own store per workload", r.perWorkload(func(c load.Counts) float64 { return c.Status }), 1, goalStatusWrites),
		figures.Alone("promote, reply shows the next step, p50 (ms)", r.latency(reply, 50), 1, goalPromoteP50),
		figures.Alone("promote, reply shows the next step, p99 (ms)", r.latency(reply, 99), 1, goalPromoteP99),
		figures.Alone("promote, ReplicaSet scaled, p50 (ms)", r.latency(scaled, 50), 1, goalPromoteP50),
		figures.Alone("promote, ReplicaSet scaled, p99 (ms)", r.latency(scaled, 99), 1, goalPromoteP99),
	}
}

// details are measures without goals that explain those with.
func (r results) details() []figures.Row {
	var rows []figures.Row
	compared := func(measure string, decimals int, figure func(load.Update) float64) {
		deployment, sluice := r.both(figure)
		rows = append(rows, figures.Compared(measure, deployment, sluice, decimals, 0))
	}
	alone := func(measure string, number func(load.Counts) float64) {
		rows = append(rows, figures.Alone(measure, r.perWorkload(number), 1, 0))
	}
	for _, name := range names(r.runs[0].deployment.CPU) {
		compared("CPU of "+name+" (s)", 1, func(u load.Update) float64 { return u.CPU[name].Seconds() })
	}
	compared("CPU of all for events written later (s)", 1, func(u load.Update) float64 { return u.Late.Seconds() })
	compared("CPU of all when idle (s per s)", 2, func(u load.Update) float64 { return u.Idle })
	compared("writes of ReplicaSets, by all", 0, func(u load.Update) float64 { return u.Counts.ReplicaSets })
	compared("writes of workloads, by all", 0, func(u load.Update) float64 { return u.Counts.Workloads })
	compared("writes of events, by all", 0, func(u load.Update) float64 { return u.Counts.Events })
	compared("writes of pods, by all", 0, func(u load.Update) float64 { return u.Counts.Pods })
	alone("ReplicaSet writes per workload, as we count", func(c load.Counts) float64 { return c.HostReplicaSets })
	alone("ReplicaSet writes per workload, as the host counts", func(c load.Counts) float64 { return c.SeenReplicaSets })
	alone("event writes per workload", func(c load.Counts) float64 { return c.HostEvents })
	alone("ConfigMap writes per workload", func(c load.Counts) float64 { return c.HostRecords })
	alone("dry runs in the host per workload", func(c load.Counts) float64 { return c.DryRuns })
	alone("status writes per workload, as the server counts", func(c load.Counts) float64 { return c.SeenStatus })
	return append(rows, figures.Alone("promotes sent again after a conflict",
		r.median(func(m measured) float64 { return float64(m.latency.Conflicts) }), 0, 0))
}

// text writes the results for a terminal.
func (r results) text(out io.Writer) error {
	fmt.Fprintf(out, "\n%s\n\n", r.conditions())
	if err := figures.Text(out, r.rows()); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := figures.Text(out, r.details()); err != nil {
		return err
	}
	conclusion := "All goals were reached."
	if figures.AnyMissed(r.rows()) {
		conclusion = "*** AT LEAST ONE GOAL WAS MISSED: see the lines marked " + figures.Missed + " above. ***"
	}
	_, err := fmt.Fprintf(out, "\n%s\nTo repeat this: %s\n", conclusion, r.command())
	return err
}

// save writes the results as a page of the documentation.
func (r results) save(path string) error {
	var page bytes.Buffer
	fmt.Fprintf(&page, `# Benchmarks

<!-- Written by go run ./test/benchmark --markdown; do not edit. -->

The same work as Deployments and as Rollouts, on one control plane, in one run: many workloads are updated
once, all at the same time. The Rollouts take the steps 20, 40, 60 and 80 without a pause. Both have the same
pods, requests, nodes and bounds (25%% surge, 25%% unavailable). The ratio is Sluice / Deployment. A promote is
timed from sending it through the aggregator, until the reply is there and until a watch shows the new size.

%s

`, r.conditions())
	if err := figures.Markdown(&page, r.rows()); err != nil {
		return err
	}
	fmt.Fprint(&page, "\nWhere that comes from:\n\n")
	if err := figures.Markdown(&page, r.details()); err != nil {
		return err
	}
	fmt.Fprintf(&page, "\nTo repeat this, with nothing but Go: `%s`\n", r.command())
	return os.WriteFile(path, page.Bytes(), 0o644)
}

// conditions says what was measured, and on what.
func (r results) conditions() string {
	runs := "one run"
	if len(r.runs) > 1 {
		runs = fmt.Sprintf("medians of %d runs", len(r.runs))
	}
	return fmt.Sprintf("%d workloads of %d pods each, %d promotes; %s on %s, %d processors (%s/%s, %s).",
		r.workloads, r.replicas, len(r.runs[0].latency.Reply), runs, r.time.UTC().Format(time.DateOnly),
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// names are the names of the processes, sorted.
func names(cpu plane.CPU) []string { return slices.Sorted(maps.Keys(cpu)) }
