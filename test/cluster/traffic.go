// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/test/traffic/report"
)

// Load says what clients do.
type Load struct {
	// URL is what they ask for.
	URL string
	// Rate is how many requests a second they send at most; 0 is as many as are answered.
	Rate int
	// Requests is after how many they end by themselves; 0 for never.
	Requests int
	// Resolver is the address of the name server to ask; empty for that of the node, which knows no name.
	Resolver string
	// Interval is the time between two reports; 0 is 100 ms.
	Interval time.Duration
	// Workers is how many of them there are; 0 is 4.
	Workers int
}

// Traffic is load on a Service from the real node: each request with a connection of its own.
type Traffic struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}

	mu      sync.Mutex
	reports []report.Report
	// more is closed and replaced with every report.
	more chan struct{}
	err  error
}

// Start starts it, and returns with the first answers.
func (l Load) Start(ctx context.Context, c *Cluster) (*Traffic, error) {
	workers, interval := cmp.Or(l.Workers, 4), cmp.Or(l.Interval, 100*time.Millisecond)
	t := &Traffic{ended: make(chan struct{}), more: make(chan struct{})}
	t.cmd = c.Inside(ctx, c.Binary("static/traffic"), "--url="+l.URL, fmt.Sprintf("--workers=%d", workers), fmt.Sprintf("--rate=%d", l.Rate), fmt.Sprintf("--requests=%d", l.Requests), "--interval="+interval.String(), "--resolver="+l.Resolver)
	t.cmd.Stderr = &t.stderr
	t.cmd.Cancel = func() error { return t.cmd.Process.Signal(syscall.SIGTERM) }
	t.cmd.WaitDelay = 10 * time.Second
	output, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go t.read(bufio.NewScanner(output))
	return t, t.begun(ctx)
}

// begun waits for the first answers. A short load may have ended with them.
func (t *Traffic) begun(ctx context.Context) error {
	for {
		t.mu.Lock()
		more, asked := t.more, report.Sum(t.reports...).Requests()
		t.mu.Unlock()
		if asked > 0 {
			return nil
		}
		select {
		case <-more:
		case <-t.ended:
			if asked = report.Sum(t.reports...).Requests(); asked > 0 {
				return nil
			}
			return errors.Join(errors.New("the load ended without an answer"), t.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read takes in reports until there are no more.
func (t *Traffic) read(lines *bufio.Scanner) {
	defer close(t.ended)
	var failed error
	for lines.Scan() {
		var r report.Report
		if failed = json.Unmarshal(lines.Bytes(), &r); failed != nil {
			break
		}
		t.mu.Lock()
		t.reports = append(t.reports, r)
		close(t.more)
		t.more = make(chan struct{})
		t.mu.Unlock()
	}
	failed = errors.Join(failed, lines.Err(), t.cmd.Wait())
	if failed != nil {
		failed = fmt.Errorf("the load ended: %w %s", failed, strings.TrimSpace(t.stderr.String()))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = failed
}

// Reports are all up to now.
func (t *Traffic) Reports() []report.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]report.Report(nil), t.reports...)
}

// Await waits until what has been answered from now on, in whole intervals, is enough, and returns it.
func (t *Traffic) Await(ctx context.Context, enough func(report.Report) bool) (report.Report, error) {
	began := time.Now()
	for {
		t.mu.Lock()
		more := t.more
		sum := report.Sum(report.Between(t.reports, began, time.Now())...)
		t.mu.Unlock()
		if enough(sum) {
			return sum, nil
		}
		select {
		case <-more:
		case <-t.ended:
			t.mu.Lock()
			defer t.mu.Unlock()
			return sum, errors.Join(errors.New("the load ended before there were enough answers"), t.err)
		case <-ctx.Done():
			return sum, fmt.Errorf("waited in vain for answers: %s (%w)", sum, ctx.Err())
		}
	}
}

// Sample is what is answered to so many requests from now on.
func (t *Traffic) Sample(ctx context.Context, requests int) (report.Report, error) {
	return t.Await(ctx, func(r report.Report) bool { return r.Requests() >= requests })
}

// Wait waits until the load has ended by itself, and returns all reports.
func (t *Traffic) Wait(ctx context.Context) ([]report.Report, error) {
	select {
	case <-t.ended:
		return t.reports, t.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Stop ends the load, after the answers to all that was asked, and returns all reports.
func (t *Traffic) Stop() ([]report.Report, error) {
	select {
	case <-t.ended:
	default:
		if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return nil, err
		}
		<-t.ended
	}
	return t.reports, t.err
}
