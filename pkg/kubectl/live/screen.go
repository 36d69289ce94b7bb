// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// The control sequences that every terminal of today understands.
const (
	hideCursor, showCursor = "\x1b[?25l", "\x1b[?25h"
	noWrap, wrap           = "\x1b[?7l", "\x1b[?7h"
	clearScreen            = "\x1b[2J"
	home                   = "\x1b[H"
	eraseLine, eraseBelow  = "\x1b[K", "\x1b[J"
)

// IsTerminal says whether a writer is a terminal that understands control sequences.
func IsTerminal(w io.Writer) bool {
	fd, ok := descriptor(w)
	return ok && term.IsTerminal(fd) && os.Getenv("TERM") != "dumb"
}

func descriptor(w io.Writer) (int, bool) {
	file, ok := w.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	return int(file.Fd()), true
}

// Screen repaints a terminal in place, without flicker: each painting goes over the last one, and only
// what is left of that is erased.
type Screen struct {
	out io.Writer
	// height is the number of rows now; 0 if it is not known.
	height  func() int
	restore func() error
}

// NewScreen clears a terminal for painting. Close must be called before anything else is written to it.
func NewScreen(out io.Writer) (*Screen, error) {
	s := &Screen{out: out, restore: func() error { return nil }, height: func() int {
		if fd, ok := descriptor(out); ok {
			if _, rows, err := term.GetSize(fd); err == nil {
				return rows
			}
		}
		return 0
	}}
	restore, err := termenv.EnableVirtualTerminalProcessing(termenv.NewOutput(out))
	if err != nil {
		return nil, fmt.Errorf("cannot paint on this terminal (pipe the output through cat for plain text): %w", err)
	}
	s.restore = restore
	_, err = io.WriteString(out, hideCursor+noWrap+clearScreen+home)
	return s, err
}

// Paint shows lines in place of those before. What does not fit is cut off at the bottom, with a line
// that says so.
func (s *Screen) Paint(lines []string) error {
	if rows := s.height(); rows > 1 && len(lines) >= rows {
		hidden := len(lines) - (rows - 2)
		lines = append(append([]string{}, lines[:rows-2]...), fmt.Sprintf("... %d more lines", hidden))
	}
	var b strings.Builder
	b.WriteString(home)
	for _, line := range lines {
		b.WriteString(line + eraseLine + "\n")
	}
	b.WriteString(eraseBelow)
	_, err := io.WriteString(s.out, b.String())
	return err
}

// Close gives the terminal back as it was. What was painted last stays; what the terminal itself has put
// below it, as the ^C that ended the painting, goes.
func (s *Screen) Close() error {
	if _, err := io.WriteString(s.out, "\r"+eraseBelow+wrap+showCursor); err != nil {
		return err
	}
	return s.restore()
}
