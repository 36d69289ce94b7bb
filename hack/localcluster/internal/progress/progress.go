// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package progress tells a person what is being waited for: on a terminal in one line that is redrawn
// in place, elsewhere in a plain line every few seconds. It imports only the standard library and x/term.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// How often the state is shown: redrawing a line is cheap for the reader, a new line is not.
const (
	redrawInterval = 200 * time.Millisecond
	lineInterval   = 5 * time.Second
)

// clearLine returns to the start of the line and empties it.
const clearLine = "\r\x1b[K"

// Reporter shows the tasks that are under way. It is safe for concurrent use.
type Reporter struct {
	out io.Writer
	// width returns the columns of the terminal; nil if out is none.
	width func() int
	now   func() time.Time

	mu     sync.Mutex
	active []*Task
	stop   chan struct{}
	idle   sync.WaitGroup
}

// New returns a reporter on the file, which redraws in place if that is a terminal. Close it.
func New(file *os.File) *Reporter {
	reporter := &Reporter{out: file, now: time.Now, stop: make(chan struct{})}
	interval := lineInterval
	if fd := int(file.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		interval = redrawInterval
		reporter.width = func() int {
			width, _, err := term.GetSize(fd)
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	reporter.idle.Go(func() { reporter.run(interval) })
	return reporter
}

func (r *Reporter) run(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			r.mu.Lock()
			r.show()
			r.mu.Unlock()
		}
	}
}

// Close ends the display; nothing may be reported afterwards.
func (r *Reporter) Close() {
	close(r.stop)
	r.idle.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
}

// Printf prints a line that stays.
func (r *Reporter) Printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.print(fmt.Sprintf(format, args...))
}

// Begin adds a task to those under way. What reads like "building kubectl".
func (r *Reporter) Begin(what string) *Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	task := &Task{reporter: r, what: what, since: r.now()}
	r.active = append(r.active, task)
	if r.width != nil {
		r.show()
	}
	return task
}

func (r *Reporter) print(line string) {
	r.clear()
	fmt.Fprintln(r.out, line)
	if r.width != nil {
		r.show()
	}
}

func (r *Reporter) clear() {
	if r.width != nil {
		fmt.Fprint(r.out, clearLine)
	}
}

func (r *Reporter) show() {
	if len(r.active) == 0 {
		return
	}
	parts := make([]string, len(r.active))
	for i, task := range r.active {
		parts[i] = task.String()
	}
	line := strings.Join(parts, "; ")
	if r.width == nil {
		fmt.Fprintln(r.out, line)
		return
	}
	fmt.Fprint(r.out, clearLine+shorten(line, r.width()-1))
}

func shorten(line string, width int) string {
	runes := []rune(line)
	if width < 1 || len(runes) <= width {
		return line
	}
	return string(runes[:width-1]) + "…"
}

// Task is something that takes its time.
type Task struct {
	reporter *Reporter
	what     string
	detail   string
	since    time.Time
}

// String is what is shown of the task: what it does, since when, and how far it is. The caller holds
// the reporter's lock.
func (t *Task) String() string {
	text := fmt.Sprintf("%s (%s", t.what, Elapsed(t.reporter.now().Sub(t.since)))
	if t.detail != "" {
		text += ", " + t.detail
	}
	return text + ")"
}

// Detail says how far the task is.
func (t *Task) Detail(detail string) {
	t.reporter.mu.Lock()
	defer t.reporter.mu.Unlock()
	t.detail = detail
}

// Done ends the task. A result, if there is one, is printed with the time that it took.
func (t *Task) Done(result string) {
	r := t.reporter
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, task := range r.active {
		if task == t {
			r.active = append(r.active[:i], r.active[i+1:]...)
			break
		}
	}
	if result != "" {
		r.print(fmt.Sprintf("%s (%s)", result, Elapsed(r.now().Sub(t.since))))
		return
	}
	r.clear()
}

// Elapsed writes a duration as a person would say it: 0.4s, 12s, 3m05s.
func Elapsed(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	default:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
}
