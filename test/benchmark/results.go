// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
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

// pageHead begins the page of the documentation, sectionMark each of its sections.
const (
	pageHead = `# Benchmarks

<!-- Written by go run ./test/benchmark --markdown; do not edit. -->

What Sluice does is compared with a peer that does the same work on the same control plane in the same run. The ratio
is Sluice / peer.
`
	sectionMark = "\n## "
)

// save writes the results into the page of the documentation. Sections of what was not measured now stay as they are.
func (r results) save(path string) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	page, err := r.page(string(before))
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

// page is the page with the results in place of earlier ones, new sections last.
func (r results) page(before string) (string, error) {
	sections := strings.Split(before, sectionMark)[1:]
	for _, s := range r.sections() {
		text, err := r.markdown(s)
		if err != nil {
			return "", err
		}
		at := slices.IndexFunc(sections, func(section string) bool { return strings.HasPrefix(section, s.title+"\n") })
		if at < 0 {
			sections = append(sections, text)
		} else {
			sections[at] = text
		}
	}
	return strings.Join(append([]string{pageHead}, sections...), sectionMark), nil
}

// markdown is a section of the page, from its title on.
func (r results) markdown(s section) (string, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\n\n%s\n\n%s.\n\n%s To repeat this, with nothing but Go: `%s`\n", s.title, s.text, s.measured, r.conditions(), r.command())
	for i, table := range s.tables {
		if i > 0 {
			fmt.Fprint(&out, "\nWhere that comes from:\n")
		}
		fmt.Fprintln(&out)
		if err := table.Markdown(&out); err != nil {
			return "", err
		}
	}
	return out.String(), nil
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
