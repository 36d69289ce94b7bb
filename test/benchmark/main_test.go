// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/figures"
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
		{rule: "parts can be left out", args: []string{"--only=verbs,trees", "--verbs=10"}, command: "go run ./test/benchmark --only=verbs,trees --verbs=10"},
		{rule: "an unknown part is refused with those that are known", args: []string{"--only=verbs,forests"}, wrong: "updates, contention, verbs, trees, idle"},
		{rule: "ReplicaSets are dealt out evenly", args: []string{"--replicasets=1234"}, wrong: "multiple of 1000"},
		{rule: "Rollouts are dealt out evenly", args: []string{"--rollouts=15"}, wrong: "multiple of 10"},
		{rule: "no time is no idle time", args: []string{"--idle=0s"}, wrong: "at least 1s"},
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
	rows := r.updateRows()
	for i, want := range []struct{ measure, sluice, ratio, verdict string }{
		{"update", "13.0", "1.18", "reached"},
		{"CPU", "13.0", "1.18", "reached"},
		{"writes to the host", "13.0", "-", "reached"},
		{"status writes", "0.0", "-", "reached"},
		{"promote", "10.0", "-", "reached"},
	} {
		row := rows[i]
		if !strings.HasPrefix(row.Measure, want.measure) || row.Sluice != want.sluice || row.Ratio != want.ratio || row.Verdict != want.verdict {
			t.Errorf("got %+v, want %+v", row, want)
		}
	}
}

func TestOnlyWhatWasMeasuredIsReported(t *testing.T) {
	second := []time.Duration{time.Second}
	m := measured{verbs: load.Calls{Duration: time.Second, Each: second}, patches: load.Calls{Duration: time.Second, Each: second, Failures: 3}, trees: load.Trees{Frame: second, Read: second, Listed: second}}
	o, err := parse([]string{"--only=trees,verbs"})
	if err != nil {
		t.Fatal(err)
	}
	r := results{options: o, runs: []measured{m}}
	var out strings.Builder
	if err := r.text(&out); err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]bool{"One update": false, "Many promotes": false, "Many verbs": true, "One tree": true, "Listing": true} {
		if strings.Contains(out.String(), part) != want {
			t.Errorf("%q, wanted: %v:\n%s", part, want, out.String())
		}
	}
	// A second is more than the goal of the first frame. That patches failed is not the fault of Sluice.
	if !r.anyMissed() || strings.Count(out.String(), figures.Missed+"\n") != 2 {
		t.Errorf("the goals that are missed are not told:\n%s", out.String())
	}
	r.runs[0].trees.Frame = []time.Duration{time.Millisecond}
	if r.anyMissed() {
		t.Error("a goal is missed that was reached")
	}
	r.runs = append(r.runs, m)
	r.runs[1].trees.Frame, r.runs[1].verbs.Failures = r.runs[0].trees.Frame, 1
	if !r.anyMissed() {
		t.Error("one 5xx in one of the runs is not noticed")
	}
}
