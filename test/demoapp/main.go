// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demoapp is the application that is rolled out in the demonstration and the tests: it answers every
// request with its colour. The colour is part of its image, so that another tag is another image. "bad-" before
// a colour answers half of all requests with an error, "slow-" takes its time for each.
//
// Variables of its environment set it: COLOR, as in the image; ERROR_PERCENT, the share of answers that are 500,
// from 0 to 100; DELAY, how long an answer takes; READY_DELAY, how long after its start it becomes ready;
// CRASH_AFTER, how long after its start it crashes, as a program does that has a fault: at once, without an answer to
// what it was asked (default never); DRAIN, how long it goes on serving after it was told to end, until every proxy
// knows (default 2s); PORT. HOSTNAME, which in a container is the name of the pod, is the header X-Pod of its answers.
// Times are durations of Go, as 1.5s, and not negative; with anything else it does not start.
//
// It imports only the standard library.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	app, err := newApp(os.Getenv, time.Now())
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = app.serve(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demoapp:", err)
		os.Exit(1)
	}
}

// app is the application.
type app struct {
	colour, port string
	pod          string
	errorPercent int64
	delay, drain time.Duration
	readyAt      time.Time
	// crashAfter is 0 if it does not crash.
	crashAfter time.Duration
	requests   atomic.Int64
}

func newApp(env func(string) string, now time.Time) (*app, error) {
	a := &app{colour: env("COLOR"), port: env("PORT"), pod: env("HOSTNAME"), drain: 2 * time.Second}
	if a.colour == "" {
		return nil, errors.New("COLOR is not set; it is part of the image")
	}
	if a.port == "" {
		a.port = "8080"
	}
	if colour, bad := strings.CutPrefix(a.colour, "bad-"); bad {
		a.colour, a.errorPercent = colour, 50
	}
	if colour, slow := strings.CutPrefix(a.colour, "slow-"); slow {
		a.colour, a.delay = colour, 200*time.Millisecond
	}
	var readyDelay time.Duration
	for name, value := range map[string]*time.Duration{"DELAY": &a.delay, "READY_DELAY": &readyDelay, "CRASH_AFTER": &a.crashAfter, "DRAIN": &a.drain} {
		if text := env(name); text != "" {
			parsed, err := time.ParseDuration(text)
			if err != nil || parsed < 0 {
				return nil, fmt.Errorf("%s is %q; a duration as 1.5s is wanted", name, text)
			}
			*value = parsed
		}
	}
	if text := env("ERROR_PERCENT"); text != "" {
		parsed, err := strconv.ParseInt(text, 10, 64)
		if err != nil || parsed < 0 || parsed > 100 {
			return nil, fmt.Errorf("ERROR_PERCENT is %q; a number from 0 to 100 is wanted", text)
		}
		a.errorPercent = parsed
	}
	a.readyAt = now.Add(readyDelay)
	return a, nil
}

// errCrashed is what is wrong with it if nothing else is.
var errCrashed = errors.New("crashed, as CRASH_AFTER says")

// serve answers until it is told to end, and then until everybody has been told that it does; or until it crashes.
func (a *app) serve(ctx context.Context) error {
	server := &http.Server{Addr: ":" + a.port, Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Println("serving", a.colour)
	var crash <-chan time.Time
	if a.crashAfter > 0 {
		timer := time.NewTimer(a.crashAfter)
		defer timer.Stop()
		crash = timer.C
	}
	select {
	case err := <-failed:
		return err
	case <-crash:
		return errCrashed
	case <-ctx.Done():
	}
	drained := time.NewTimer(a.drain)
	defer drained.Stop()
	select {
	case err := <-failed:
		return err
	case <-crash:
		return errCrashed
	case <-drained.C:
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ending)
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(a.readyAt) {
			http.Error(w, "warming up", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/", a.answer)
	return mux
}

// answer spreads the errors evenly: of a hundred answers as many as were asked for.
func (a *app) answer(w http.ResponseWriter, r *http.Request) {
	n := a.requests.Add(1)
	w.Header().Set("X-Pod", a.pod)
	if a.delay > 0 {
		timer := time.NewTimer(a.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	if n*a.errorPercent/100 != (n-1)*a.errorPercent/100 {
		http.Error(w, a.colour, http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, a.colour)
}
