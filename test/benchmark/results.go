// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/figures"
)

// resultsFile is where --markdown writes, in the source tree.
const resultsFile = "docs/benchmarks.md"

// The goals. The first two are ratios to the Deployments', the next two numbers per workload and update,
// the next three milliseconds. The last ones are MiB, percent of a processor, and seconds.
const (
	goalTime         = 1.4
	goalCPU          = 1.3
	goalHostWrites   = 14
	goalStatusWrites = 12
	goalPromoteP50   = 15
	goalPromoteP99   = 40
	goalFirstFrame   = 200
	goalMemory       = 1024
	goalShare        = 2
	goalStart        = 15
	goalProtobuf     = 0.5
	goalTable        = 1
	goalFailOver     = 5
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

// percentile is the median of a percentile, in milliseconds.
func (r results) percentile(times func(measured) []time.Duration, percentile float64) float64 {
	return r.median(func(m measured) float64 {
		return float64(figures.Percentile(times(m), percentile)) / float64(time.Millisecond)
	})
}

// text writes the results for a terminal.
func (r results) text(out io.Writer) error {
	fmt.Fprintf(out, "\n%s\n", r.conditions())
	for _, s := range r.sections() {
		fmt.Fprintf(out, "\n%s: %s.\n\n", s.title, s.measured)
		for i, table := range s.tables {
			if i > 0 {
				fmt.Fprintln(out)
			}
			if err := table.Text(out); err != nil {
				return err
			}
		}
	}
	conclusion := "All goals were reached."
	if r.anyMissed() {
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

What Sluice does is compared with a peer that does the same work on the same control plane in the same run. The ratio
is Sluice / peer.

%s
`, r.conditions())
	for _, s := range r.sections() {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\n%s.\n", s.title, s.text, s.measured)
		for i, table := range s.tables {
			if i > 0 {
				fmt.Fprint(&page, "\nWhere that comes from:\n")
			}
			fmt.Fprintln(&page)
			if err := table.Markdown(&page); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(&page, "\nTo repeat this, with nothing but Go: `%s`\n", r.command())
	return os.WriteFile(path, page.Bytes(), 0o644)
}

// anyMissed says whether any goal of any part was missed.
func (r results) anyMissed() bool {
	for _, s := range r.sections() {
		for _, table := range s.tables {
			if figures.AnyMissed(table.Rows) {
				return true
			}
		}
	}
	return false
}

// conditions says when and on what was measured.
func (r results) conditions() string {
	runs := "One run"
	if len(r.runs) > 1 {
		runs = fmt.Sprintf("Medians of %d runs", len(r.runs))
	}
	return fmt.Sprintf("%s on %s, %d processors (%s/%s, %s).", runs, r.time.UTC().Format(time.DateOnly),
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}
