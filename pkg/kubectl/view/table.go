// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// columnGap is how many spaces at least stand between two columns.
const columnGap = 2

// span is a piece of text of one tone.
type span struct {
	tone Tone
	text string
}

// cell is what stands in one column of one row.
type cell []span

// text is a cell without a tone. What others have written is made fit for a row of a table.
func text(s string) cell { return cell{{text: Printable(s)}} }

// Printable is a text that somebody else has written, such as the reason for an action, as one line that
// cannot steer the terminal: control characters are replaced.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// width is the number of columns on the screen. Every sign used here is one column wide.
func (c cell) width() int {
	width := 0
	for _, s := range c {
		width += utf8.RuneCountInString(s.text)
	}
	return width
}

func (c cell) paint(paint Painter) string {
	var b strings.Builder
	for _, s := range c {
		b.WriteString(paint(s.tone, s.text))
	}
	return b.String()
}

// layout prints rows with their columns aligned, and nothing after the last text of a row.
func layout(rows [][]cell, paint Painter) []string {
	var w widths
	for _, row := range rows {
		w = w.grow(row)
	}
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		lines = append(lines, w.line(row, paint))
	}
	return lines
}

// widths are the widths of the columns of a table that is printed bit by bit. They only ever grow.
type widths []int

func (w widths) grow(row []cell) widths {
	for i, c := range row {
		if i == len(w) {
			w = append(w, 0)
		}
		w[i] = max(w[i], c.width())
	}
	return w
}

func (w widths) line(row []cell, paint Painter) string {
	var b strings.Builder
	pending := 0
	for i, c := range row {
		if width := c.width(); width > 0 {
			b.WriteString(strings.Repeat(" ", pending))
			b.WriteString(c.paint(paint))
			pending = w[i] - width + columnGap
		} else {
			pending += w[i] + columnGap
		}
	}
	return b.String()
}
