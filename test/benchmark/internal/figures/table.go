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

// Table is results, with the name of what Sluice is compared with.
type Table struct {
	Peer string
	Rows []Row
}

// Row is a line of the results: a measure of Sluice and of its peer, or of Sluice alone.
type Row struct {
	// Measure says what was measured, with the unit.
	Measure string
	// Peer and Sluice are the figures of both; "-" if there is none.
	Peer, Sluice string
	// Ratio is Sluice / Peer; "-" if that says nothing.
	Ratio string
	// Goal is what should be reached, "-" if this is for information; Verdict then is empty.
	Goal, Verdict string
}

// Compared is a row whose ratio has a goal; a goal of 0 is none. Both figures are shown with the given
// number of decimals.
func Compared(measure string, peer, sluice float64, decimals int, goal float64) Row {
	row := Row{Measure: measure, Peer: number(peer, decimals), Sluice: number(sluice, decimals), Ratio: none, Goal: none}
	if peer == 0 {
		return row
	}
	ratio := sluice / peer
	row.Ratio = number(ratio, 2)
	if goal > 0 {
		row.Goal, row.Verdict = "ratio ≤ "+trimmed(goal), verdict(ratio, goal)
	}
	return row
}

// Alone is a row of a figure that only Sluice has, with its goal; a goal of 0 is none.
func Alone(measure string, sluice float64, decimals int, goal float64) Row {
	row := Row{Measure: measure, Peer: none, Sluice: number(sluice, decimals), Ratio: none, Goal: none}
	if goal > 0 {
		row.Goal, row.Verdict = "≤ "+trimmed(goal), verdict(sluice, goal)
	}
	return row
}

// Within is a row in which Sluice is compared with the peer, and has a goal of its own whatever the peer does.
func Within(measure string, peer, sluice float64, decimals int, goal float64) Row {
	row := Alone(measure, sluice, decimals, goal)
	row.Peer = number(peer, decimals)
	if peer != 0 {
		row.Ratio = number(sluice/peer, 2)
	}
	return row
}

// Never is a row of something that must not happen, compared with how often it happened to the peer.
func Never(measure string, peer, sluice float64) Row {
	return Row{Measure: measure, Peer: number(peer, 0), Sluice: number(sluice, 0), Ratio: none, Goal: "none", Verdict: verdict(sluice, 0)}
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

// lines are the header and the rows.
func (t Table) lines() [][]string {
	lines := [][]string{{"Measure", t.Peer, "Sluice", "Ratio", "Goal", "Verdict"}}
	for _, row := range t.Rows {
		lines = append(lines, []string{row.Measure, row.Peer, row.Sluice, row.Ratio, row.Goal, row.Verdict})
	}
	return lines
}

// Text writes the table for a terminal.
func (t Table) Text(out io.Writer) error {
	lines := t.lines()
	widths := make([]int, len(lines[0]))
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

// Markdown writes the table as one of Markdown.
func (t Table) Markdown(out io.Writer) error {
	for i, cells := range t.lines() {
		if _, err := fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")); err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		if _, err := fmt.Fprintln(out, "|---|---:|---:|---:|---|---|"); err != nil {
			return err
		}
	}
	return nil
}

func verdict(figure, goal float64) string {
	if figure <= goal {
		return Reached
	}
	return Missed
}

func number(value float64, decimals int) string { return fmt.Sprintf("%.*f", decimals, value) }

func trimmed(value float64) string { return fmt.Sprintf("%g", value) }
