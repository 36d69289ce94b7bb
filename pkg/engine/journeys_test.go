// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/engine"
)

var (
	journeys     = flag.Int("journeys", 1000, "how many random journeys TestJourneys makes")
	journeysSeed = flag.Uint64("journeys.seed", 1, "what the seeds of TestJourneys are counted from")
)

// TestJourneys makes random journeys through all that can happen to a Rollout, and holds every step of them
// against every invariant; see journey. By the same -journeys.seed they are the same on every machine.
//
// A journey that fails is shrunk, and printed with the command that repeats it. With -rapid.seed, which that
// command sets, there is one journey: the one of that seed.
func TestJourneys(t *testing.T) {
	if flag.Lookup("rapid.seed").Value.String() != "0" {
		runJourneys(&reporter{T: t}, "", 1, engine.Decide)
		return
	}
	start, before := time.Now(), rapidFlags()
	var all tally
	var lock sync.Mutex
	t.Cleanup(func() {
		before.set()
		t.Logf("%s; seeds count from %d", all.describe(time.Since(start)), *journeysSeed)
		if int(all.journeys) < *journeys && !t.Failed() {
			t.Errorf("only %d journeys of %d came to their end", all.journeys, *journeys)
		}
	})
	for i := range shares {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			counted := runJourneys(&reporter{T: t}, seedOf(*journeysSeed, i), (*journeys+shares-1)/shares, engine.Decide)
			lock.Lock()
			defer lock.Unlock()
			all.add(counted)
		})
	}
}

// shares is in how many parts journeys are made, as many at once as there are processors. It is the same on
// every machine, so that the journeys are.
const shares = 16

// seedOf is the seed of a share. rapid counts on from it, and seeds of other shares are far away.
func seedOf(base uint64, share int) string {
	return strconv.FormatUint(base+uint64(share+1)<<40, 10)
}

// seeding is held from when the flags of rapid are set until it has read them.
var seeding sync.Mutex

// runJourneys makes n journeys, with seeds that count from one; "" is that of -rapid.seed.
func runJourneys(t rapid.TB, seed string, n int, brain func(engine.Snapshot) engine.Decision) (counted tally) {
	t.Helper()
	seeding.Lock()
	var once sync.Once
	defer once.Do(seeding.Unlock)
	if seed != "" {
		setFlag("rapid.seed", seed)
	}
	setFlag("rapid.checks", strconv.Itoa(n))
	rapid.Check(t, func(t *rapid.T) {
		once.Do(seeding.Unlock)
		journey(t, brain, &counted)
	})
	return counted
}

// flags are values of flags, by name.
type flags map[string]string

// rapidFlags are those that tests set.
func rapidFlags() flags {
	now := flags{}
	for _, name := range []string{"rapid.seed", "rapid.checks", "rapid.nofailfile", "rapid.shrinktime"} {
		now[name] = flag.Lookup(name).Value.String()
	}
	return now
}

func (f flags) set() {
	for name, value := range f {
		setFlag(name, value)
	}
}

func setFlag(name, value string) {
	if err := flag.Set(name, value); err != nil {
		panic(err)
	}
}

// reporter is a test that says how to repeat a journey that failed.
type reporter struct{ *testing.T }

// Errorf is called once for a failure, with the seed in its text.
func (r *reporter) Errorf(format string, args ...any) {
	r.Helper()
	text := fmt.Sprintf(format, args...)
	r.Error(text + replay(text))
}

var printedSeed = regexp.MustCompile(`-rapid\.seed=(\d+)`)

// replay is the line that says how to repeat the failure that text tells of; empty if that has no seed.
func replay(text string) string {
	found := printedSeed.FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return "\nreplay with: go test ./pkg/engine -count=1 -run '^TestJourneys$' -args -rapid.seed=" + found[1]
}
