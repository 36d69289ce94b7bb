// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"sync"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// Report is what a component is like at this moment.
type Report struct {
	// Name, PID, URL and Log are as in the record.
	Name string `json:"name"`
	PID  int    `json:"pid,omitempty"`
	URL  string `json:"url"`
	Log  string `json:"log"`
	// Condition is that of its process.
	Condition state.Condition `json:"condition"`
	// Ready is true if it answers that it is; Answer is what it said, if it runs.
	Ready  bool   `json:"ready"`
	Answer string `json:"answer,omitempty"`
	// Uptime is how long it runs already.
	Uptime time.Duration `json:"-"`
	// LastLines are the end of its log, if it crashed.
	LastLines string `json:"lastLines,omitempty"`
}

// Status asks every component of the control plane how it is. It takes no lock, so that it can look on
// while another command works.
func Status(ctx context.Context, recorded *state.State, now time.Time) []Report {
	reports := make([]Report, len(recorded.Components))
	var asked sync.WaitGroup
	for i, c := range recorded.Components {
		asked.Go(func() { reports[i] = report(ctx, recorded, *c, now) })
	}
	asked.Wait()
	return reports
}

func report(ctx context.Context, recorded *state.State, c state.Component, now time.Time) Report {
	r := Report{Name: c.Name, URL: c.URL, Log: c.Log, Condition: c.Condition()}
	switch r.Condition {
	case state.Running:
		r.PID, r.Uptime = c.Process.PID, now.Sub(c.StartedAt)
		r.Ready, r.Answer = probe(ctx, prober(recorded, c.Component), c.Health)
	case state.Crashed:
		r.LastLines = lastLines(c)
	}
	return r
}

// Healthy says whether every component that is supposed to run does, and is ready.
func Healthy(reports []Report) bool {
	for _, r := range reports {
		if r.Condition == state.Crashed || r.Condition == state.Running && !r.Ready {
			return false
		}
	}
	return true
}
