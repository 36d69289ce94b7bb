// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The verdicts on a figure that has a goal.
const (
	Reached = "reached"
	Missed  = "MISSED"
)

// none stands where there is no figure.
const none = "-"

// Row is a line of the results: a measure of both kinds of workload, or of Sluice alone.
type Row struct {
	// Measure says what was measured, with the unit.
	Measure string
	// Deployment and Sluice are the figures of both; "-" if there is none.
	Deployment, Sluice string
	// Ratio is Sluice / Deployment; "-" if that says nothing.
	Ratio string
	// Goal is what should be reached, "-" if this is for information; Verdict then is empty.
	Goal, Verdict string
}

// Compared is a row whose ratio has a goal; a goal of 0 is none. Both figures are shown with the given
// number of decimals.
func Compared(measure string, deployment, sluice float64, decimals int, goal float64) Row {
	row := Row{Measure: measure, Deployment: number(deployment, decimals), Sluice: number(sluice, decimals), Ratio: none, Goal: none}
	if deployment == 0 {
		return row
	}
	ratio := sluice / deployment
	row.Ratio = number(ratio, 2)
	if goal > 0 {
		row.Goal, row.Verdict = "ratio ≤ "+trimmed(goal), verdict(ratio, goal)
	}
	return row
}

// Alone is a row of a figure that only Sluice has, with its goal; a goal of 0 is none.
func Alone(measure string, sluice float64, decimals int, goal float64) Row {
	row := Row{Measure: measure, Deployment: none, Sluice: number(sluice, decimals), Ratio: none, Goal: none}
	if goal > 0 {
		row.Goal, row.Verdict = "≤ "+trimmed(goal), verdict(sluice, goal)
	}
	return row
}

// AnyMissed says whether any goal was missed.
func AnyMissed(rows []Row) bool {
	for _, row := range rows {
		if row.Verdict == Missed {
			return true
		}
	}
	return false
}

var header = []string{"Measure", "Deployment", "Sluice", "Ratio", "Goal", "Verdict"}

func (r Row) cells() []string {
	return []string{r.Measure, r.Deployment, r.Sluice, r.Ratio, r.Goal, r.Verdict}
}

// Text writes the rows for a terminal.
func Text(out io.Writer, rows []Row) error {
	lines := [][]string{header}
	for _, row := range rows {
		lines = append(lines, row.cells())
	}
	widths := make([]int, len(header))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i >= 1 && i <= 3 {
				line.WriteString(padding + cell + "   ")
			} else {
				line.WriteString(cell + padding + "   ")
			}
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// Markdown writes the rows as a table of Markdown.
func Markdown(out io.Writer, rows []Row) error {
	lines := []string{"| " + strings.Join(header, " | ") + " |", "|---|---:|---:|---:|---|---|"}
	for _, row := range rows {
		lines = append(lines, "| "+strings.Join(row.cells(), " | ")+" |")
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}

func verdict(figure, goal float64) string {
	if figure <= goal {
		return Reached
	}
	return Missed
}

func number(value float64, decimals int) string { return fmt.Sprintf("%.*f", decimals, value) }

func trimmed(value float64) string { return fmt.Sprintf("%g", value) }
