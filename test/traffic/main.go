// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command traffic is constant load on a Service of the demo application, as many clients make it who know nothing
// of each other: each request has a connection of its own, since connections, not requests, are what a Service
// spreads. It runs where Services can be reached: on a node, or in a pod.
//
// Every interval it prints a line of JSON, a report.Report: how many answers there were since the line before, by status
// and colour, and what failed. It ends when it is told to, after the answers to all requests that were sent.
//
// It imports only the standard library, and what describes its reports.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/test/traffic/report"
)

func main() {
	url := flag.String("url", "", "what to ask for")
	workers := flag.Int("workers", 4, "how many requests are on their way at the same time, at most")
	rate := flag.Int("rate", 0, "requests a second, at most; 0 is as many as are answered")
	requests := flag.Int("requests", 0, "end after so many; 0 goes on until it is told to end")
	interval := flag.Duration("interval", 100*time.Millisecond, "time between two reports")
	timeout := flag.Duration("timeout", 5*time.Second, "how long an answer may take")
	resolver := flag.String("resolver", "", "address of a name server, instead of those of the system")
	await := flag.Bool("await", false, "only wait until there is an answer")
	pods := flag.String("pods", "", "with --await: until all these pods answer, and no other; names with commas between")
	flag.Parse()
	if *url == "" || flag.NArg() > 0 || *workers < 1 || *rate < 0 || *requests < 0 || *interval <= 0 {
		fmt.Fprintln(os.Stderr, "traffic: --url is needed; see --help")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l := &load{url: *url, client: client(*timeout, *resolver)}
	if *await {
		if err := l.await(ctx, strings.FieldsFunc(*pods, func(r rune) bool { return r == ',' })); err != nil {
			fmt.Fprintln(os.Stderr, "traffic:", err)
			os.Exit(1)
		}
		return
	}
	tickets := l.tickets(ctx, *rate, *requests)
	var clients sync.WaitGroup
	for range *workers {
		clients.Go(func() {
			for range tickets {
				l.ask()
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		clients.Wait()
	}()
	if err := l.report(os.Stdout, *interval, ended); err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

// client makes a connection for each request.
func client(timeout time.Duration, resolver string) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	if resolver != "" {
		dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, resolver)
		}}
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
}

// load is what is being asked and answered.
type load struct {
	url    string
	client *http.Client

	mu  sync.Mutex
	now report.Report
}

// await asks until there is an answer or, if pods are named, until a long run of answers came from all of them and
// from no other: a proxy hears of a pod that is ready, or not any more, a moment after everybody else.
func (l *load) await(ctx context.Context, pods []string) error {
	// By a run of this length one of n pods is passed over once in 10^9 times, or less often.
	length := 21 * len(pods)
	answered := map[string]bool{}
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for run := 0; ; run = 0 {
		_, pod, err := l.get()
		for ; err == nil && slices.Contains(pods, pod) && run < length && ctx.Err() == nil; run++ {
			answered[pod] = true
			_, pod, err = l.get()
		}
		switch {
		case err != nil:
		case len(answered) == len(pods) && run == length:
			return nil
		case run == length:
			err = fmt.Errorf("only %d of %d pods answer", len(answered), len(pods))
		default:
			err = fmt.Errorf("%q answers, which is not one of %q", pod, pods)
		}
		clear(answered)
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", err)
		case <-pause.C:
		}
	}
}

// tickets are permits for a request each.
func (l *load) tickets(ctx context.Context, rate, requests int) <-chan struct{} {
	tickets := make(chan struct{})
	go func() {
		defer close(tickets)
		var pace <-chan time.Time
		if rate > 0 {
			ticker := time.NewTicker(time.Second / time.Duration(rate))
			defer ticker.Stop()
			pace = ticker.C
		}
		for i := 0; requests == 0 || i < requests; i++ {
			if pace != nil {
				select {
				case <-pace:
				case <-ctx.Done():
					return
				}
			}
			select {
			case tickets <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return tickets
}

// ask sends one request. It is not bound to the end of the program: what was sent is waited for.
func (l *load) ask() {
	answer, _, err := l.get()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.now.Count("", cause(err))
		return
	}
	l.now.Count(answer, "")
}

// get returns an answer, and the pod that gave it.
func (l *load) get() (answer, pod string, err error) {
	response, err := l.client.Get(l.url)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return "", "", err
	}
	return fmt.Sprintf("%d %s", response.StatusCode, strings.TrimSpace(string(body))), response.Header.Get("X-Pod"), nil
}

// cause is an error without the addresses in it, by which no two would be alike.
func cause(err error) string {
	var call syscall.Errno
	var timeout net.Error
	switch {
	case errors.As(err, &call):
		return call.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without an answer"
	default:
		return err.Error()
	}
}

// report prints until all is answered.
func (l *load) report(out io.Writer, interval time.Duration, ended <-chan struct{}) error {
	encoder := json.NewEncoder(out)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for over := false; !over; {
		select {
		case <-ticker.C:
		case <-ended:
			over = true
		}
		l.mu.Lock()
		said := l.now
		l.now = report.Report{}
		l.mu.Unlock()
		said.Time = time.Now()
		if err := encoder.Encode(said); err != nil {
			return err
		}
	}
	return nil
}
