// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen writes for a person: with colours on a terminal, plain in a pipe and if NO_COLOR is set.
type screen struct {
	out     io.Writer
	colours bool
}

func newScreen(out *os.File) *screen {
	return &screen{out: out, colours: os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(out.Fd()))}
}

// The colours of the screen, as parameters of the escape sequence.
const (
	bold  = "1"
	faint = "2"
	green = "32"
	red   = "31"
)

func (s *screen) paint(colour, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) title(text string) {
	fmt.Fprintf(s.out, "\n%s\n%s\n", s.paint(bold, text), s.paint(faint, strings.Repeat("─", len([]rune(text)))))
}

func (s *screen) command(text string) { fmt.Fprintf(s.out, "%s\n", s.paint(bold, "$ "+text)) }

func (s *screen) output(text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		fmt.Fprintln(s.out, text)
	}
}

func (s *screen) passed(text string, took time.Duration) {
	fmt.Fprintf(s.out, "%s %s\n\n", s.paint(green, "✔ "+text), s.paint(faint, fmt.Sprintf("(%.1f s)", took.Seconds())))
}

func (s *screen) failed(err error) { fmt.Fprintf(s.out, "\n%s\n", s.paint(red, "✘ "+err.Error())) }

func (s *screen) say(format string, args ...any) { fmt.Fprintf(s.out, "\n"+format+"\n", args...) }
