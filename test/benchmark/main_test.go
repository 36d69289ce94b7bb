// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/load"
	"sluice.dev/sluice/test/benchmark/internal/plane"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		rule    string
		args    []string
		command string
		wrong   string
	}{
		{rule: "nothing is needed", command: "go run ./test/benchmark"},
		{rule: "what changes the work is part of the command to repeat it, paths of this machine are not",
			args: []string{"--runs=3", "--dir=/somewhere", "--profile", "/elsewhere", "--markdown", "--order", "rollout"},
			// In the order of their names.
			command: "go run ./test/benchmark --order=rollout --runs=3"},
		{rule: "an unknown order is refused with those that are known", args: []string{"--order=random"}, wrong: "alternate"},
		{rule: "no runs give no medians", args: []string{"--runs=0"}, wrong: "at least 1"},
		{rule: "arguments are refused", args: []string{"now"}, wrong: `"now"`},
	} {
		o, err := parse(test.args)
		switch {
		case test.wrong == "" && err != nil:
			t.Errorf("%s: %v", test.rule, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%s: the error %v does not mention %s", test.rule, err, test.wrong)
		case test.wrong == "" && o.command() != test.command:
			t.Errorf("%s: got %q, want %q", test.rule, o.command(), test.command)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, test := range []struct {
		order string
		run   int
		want  []string
	}{
		{"deployment", 1, []string{deployment, rollout}},
		{"rollout", 0, []string{rollout, deployment}},
		{"alternate", 0, []string{deployment, rollout}},
		{"alternate", 1, []string{rollout, deployment}},
		{"alternate", 2, []string{deployment, rollout}},
	} {
		if got, err := kinds(test.order, test.run); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("--order=%s, run %d: got %v, %v; want %v", test.order, test.run, got, err, test.want)
		}
	}
}

func TestResultsAreMedians(t *testing.T) {
	run := func(deployment, sluice float64, writes float64, scaled time.Duration) measured {
		update := func(seconds float64) load.Update {
			length := time.Duration(seconds * float64(time.Second))
			return load.Update{Duration: length, CPU: plane.CPU{"etcd": length}}
		}
		m := measured{deployment: update(deployment), rollout: update(sluice)}
		m.rollout.Counts.HostReplicaSets = writes
		m.latency = load.Latency{Reply: []time.Duration{scaled}, Scaled: []time.Duration{scaled}}
		return m
	}
	r := results{options: options{workloads: 10}, runs: []measured{
		run(10, 15, 120, 9*time.Millisecond), run(30, 12, 130, 50*time.Millisecond), run(11, 13, 150, 10*time.Millisecond),
	}}
	for i, want := range []struct{ measure, sluice, ratio, verdict string }{
		{"update", "13.0", "1.18", "reached"},
		{"CPU", "13.0", "1.18", "reached"},
		{"writes to the host", "13.0", "-", "reached"},
		{"status writes", "0.0", "-", "reached"},
		{"promote", "10.0", "-", "reached"},
	} {
		row := r.rows()[i]
		if !strings.HasPrefix(row.Measure, want.measure) || row.Sluice != want.sluice || row.Ratio != want.ratio || row.Verdict != want.verdict {
			t.Errorf("got %+v, want %+v", row, want)
		}
	}
}
