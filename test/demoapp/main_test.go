// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestSettings(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		env    []string
		colour string
		errors int64
		delay  time.Duration
		ready  time.Duration
		crash  time.Duration
	}{
		{[]string{"COLOR", "blue"}, "blue", 0, 0, 0, 0},
		{[]string{"COLOR", "bad-red"}, "red", 50, 0, 0, 0},
		{[]string{"COLOR", "slow-yellow"}, "yellow", 0, 200 * time.Millisecond, 0, 0},
		{[]string{"COLOR", "bad-red", "ERROR_PERCENT", "10", "DELAY", "1ms", "READY_DELAY", "5s"}, "red", 10, time.Millisecond, 5 * time.Second, 0},
		{[]string{"COLOR", "blue", "CRASH_AFTER", "1m"}, "blue", 0, 0, 0, time.Minute},
	} {
		a, err := newApp(env(row.env...), now)
		if err != nil {
			t.Fatal(err)
		}
		if a.colour != row.colour || a.errorPercent != row.errors || a.delay != row.delay || a.readyAt.Sub(now) != row.ready || a.crashAfter != row.crash {
			t.Errorf("%q: %s, %d %% errors, delay %v, ready after %v, crashes after %v", row.env, a.colour, a.errorPercent, a.delay, a.readyAt.Sub(now), a.crashAfter)
		}
	}
	for _, bad := range [][]string{{}, {"COLOR", "blue", "ERROR_PERCENT", "101"}, {"COLOR", "blue", "DELAY", "soon"}, {"COLOR", "blue", "DRAIN", "-1s"}, {"COLOR", "blue", "CRASH_AFTER", "-1s"}} {
		if _, err := newApp(env(bad...), now); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAnswers(t *testing.T) {
	a, err := newApp(env("COLOR", "red", "ERROR_PERCENT", "30"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range 100 {
		got := httptest.NewRecorder()
		a.handler().ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/", nil))
		if strings.TrimSpace(got.Body.String()) != "red" {
			t.Fatalf("it answers %q", got.Body)
		}
		if got.Code == http.StatusInternalServerError {
			failed++
		}
	}
	if failed != 30 {
		t.Errorf("%d of 100 answers are errors, not 30", failed)
	}
}

func TestItIsReadyAfterItsDelay(t *testing.T) {
	for start, want := range map[time.Duration]int{0: http.StatusServiceUnavailable, -time.Hour: http.StatusOK} {
		a, err := newApp(env("COLOR", "red", "READY_DELAY", "30m"), time.Now().Add(start))
		if err != nil {
			t.Fatal(err)
		}
		got := httptest.NewRecorder()
		a.handler().ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if got.Code != want {
			t.Errorf("started %v ago it answers %d, not %d", -start, got.Code, want)
		}
	}
}

// It crashes when it is to, also while it drains, and without that it ends in peace.
func TestItCrashes(t *testing.T) {
	for _, row := range []struct {
		rule string
		env  []string
		told bool
		want error
	}{
		{"in the middle of its work", []string{"CRASH_AFTER", "10ms"}, false, errCrashed},
		{"while it drains", []string{"CRASH_AFTER", "10ms", "DRAIN", "1h"}, true, errCrashed},
		{"never, if nothing is said", []string{"DRAIN", "10ms"}, true, nil},
	} {
		a, err := newApp(env(append(row.env, "COLOR", "red", "PORT", "0")...), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if row.told {
			cancel()
		}
		if err := a.serve(ctx); !errors.Is(err, row.want) {
			t.Errorf("%s: it ended with %v, not %v", row.rule, err, row.want)
		}
		cancel()
	}
}
