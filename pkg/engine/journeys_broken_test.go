// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/pkg/engine"
)

// hasty is an engine that takes all pods of a ReplicaSet where it may take some.
func hasty(s engine.Snapshot) engine.Decision {
	d := engine.Decide(s)
	for i := range d.Scale {
		for _, rs := range s.ReplicaSets {
			if rs.UID == d.Scale[i].UID && d.Scale[i].Replicas < *rs.Spec.Replicas {
				d.Scale[i].Replicas = 0
			}
		}
	}
	return d
}

// TestABrokenEngineIsFoundReplayedAndShrunk: journeys with an engine that is broken fail, and say why; they fail
// alike when they are repeated by the seed that they print; and what is shrunk of them is a trace of a few lines.
func TestABrokenEngineIsFoundReplayedAndShrunk(t *testing.T) {
	before := rapidFlags()
	defer before.set()
	setFlag("rapid.nofailfile", "true")
	setFlag("rapid.shrinktime", "0s")

	first := failing(seedOf(*journeysSeed, 0), hasty)
	seed := printedSeed.FindStringSubmatch(first.text())
	if seed == nil || !strings.HasSuffix(replay(first.text()), "-rapid.seed="+seed[1]) {
		t.Fatalf("the broken engine was not found, or no seed was printed:\n%s", first.text())
	}
	if why := first.why(); !strings.Contains(why, "cut ") {
		t.Errorf("it is not said what is wrong: %s", why)
	}
	again := failing(seed[1], hasty)
	if again.why() != first.why() || !slices.Equal(again.trace(), first.trace()) {
		t.Errorf("it did not fail alike when repeated:\n%s\nbefore:\n%s", again.text(), first.text())
	}
	setFlag("rapid.shrinktime", "3s")
	shrunk := failing(seed[1], hasty)
	if lines := len(shrunk.trace()); lines == 0 || lines > 60 || lines >= len(first.trace()) {
		t.Errorf("the trace was shrunk from %d lines to %d, want a few:\n%s", len(first.trace()), lines, shrunk.text())
	}
	if whole := failing(seed[1], engine.Decide); whole.failed {
		t.Errorf("the same journey fails with the engine as it is:\n%s", whole.text())
	}
	t.Logf("found by %s:\n%s", shrunk.why(), strings.Join(shrunk.trace(), "\n"))
}

// failing makes journeys with an engine, and keeps what they said.
func failing(seed string, brain func(engine.Snapshot) engine.Decision) *recorder {
	r := &recorder{}
	over := make(chan struct{})
	go func() { // FailNow ends the goroutine.
		defer close(over)
		runJourneys(r, seed, 50, brain)
	}()
	<-over
	return r
}

// recorder stands in for a test.
type recorder struct {
	failed bool
	said   []string
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "recorder" }
func (r *recorder) Logf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
func (r *recorder) Log(args ...any)                   { r.said = append(r.said, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.Logf(format, args...); r.Fail() }
func (r *recorder) Error(args ...any)                 { r.Log(args...); r.Fail() }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); r.FailNow() }
func (r *recorder) Skipf(format string, args ...any)  { r.Fatalf(format, args...) }
func (r *recorder) Skip(args ...any)                  { r.Fatal(args...) }
func (r *recorder) SkipNow()                          { r.FailNow() }
func (r *recorder) FailNow()                          { r.Fail(); runtime.Goexit() }
func (r *recorder) Fail()                             { r.failed = true }
func (r *recorder) Failed() bool                      { return r.failed }

func (r *recorder) text() string { return strings.Join(r.said, "\n") }

var failedAfter = regexp.MustCompile(`(?m)failed after \d+ tests: (.*)$`)

// why is what was wrong, in a line.
func (r *recorder) why() string {
	if found := failedAfter.FindStringSubmatch(r.text()); found != nil {
		return found[1]
	}
	return ""
}

// trace is what happened until then, a line each.
func (r *recorder) trace() []string {
	_, after, _ := strings.Cut(r.text(), "what happened:\n")
	after, _, _ = strings.Cut(after, "\nTo reproduce")
	if after == "" {
		return nil
	}
	return strings.Split(after, "\n")
}
