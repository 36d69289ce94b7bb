// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"strings"
	"testing"
	"time"
)

func TestElapsed(t *testing.T) {
	for _, row := range []struct {
		duration time.Duration
		want     string
	}{
		{0, "0.0s"},
		{420 * time.Millisecond, "0.4s"},
		{12*time.Second + 900*time.Millisecond, "12s"},
		{3*time.Minute + 5*time.Second, "3m05s"},
		{75 * time.Minute, "75m00s"},
	} {
		if got := Elapsed(row.duration); got != row.want {
			t.Errorf("Elapsed(%v) = %q; want %q", row.duration, got, row.want)
		}
	}
}

func TestReporter(t *testing.T) {
	for _, row := range []struct {
		name  string
		width func() int
		want  string
	}{
		{"in a pipe: whole lines, no control codes", nil,
			"building kube (7.0s, 12 packages); starting etcd (7.0s)\nbuilt kube (7.0s)\nstarting etcd (7.0s)\n"},
		{"on a terminal: one line, cut at its width, redrawn", func() int { return 30 },
			clearLine + "building kube (0.0s)" +
				clearLine + "building kube (0.0s); startin…" +
				clearLine + "building kube (7.0s, 12 packa…" +
				clearLine + "built kube (7.0s)\n" +
				clearLine + "starting etcd (7.0s)" +
				clearLine + "starting etcd (7.0s)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			now := time.Unix(0, 0)
			reporter := &Reporter{out: &out, width: row.width, now: func() time.Time { return now }}
			if row.width != nil {
				width := row.width
				reporter.width = func() int { return width() + 1 }
			}
			build := reporter.Begin("building kube")
			reporter.Begin("starting etcd")
			now = now.Add(7 * time.Second)
			build.Detail("12 packages")
			reporter.show()
			build.Done("built kube")
			reporter.show()
			if out.String() != row.want {
				t.Errorf("shown:\n%q\nwant:\n%q", out.String(), row.want)
			}
		})
	}
}
