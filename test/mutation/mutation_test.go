// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is that of the repository, and engineDir where the engine lives in it.
const (
	root      = "../.."
	engineDir = "pkg/engine"
)

// fewest is how many mutants there must be.
const fewest = 60

// TestMutantsAreUpToDate: each can be made of the engine as it is.
func TestMutantsAreUpToDate(t *testing.T) {
	if len(mutants) < fewest {
		t.Errorf("there are %d mutants, want %d or more", len(mutants), fewest)
	}
	for i, m := range mutants {
		if slices.ContainsFunc(mutants[:i], func(other mutant) bool { return other.name == m.name }) {
			t.Errorf("two mutants are called %q", m.name)
		}
		if _, err := m.source(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// source is the file of a mutant as the mutant has it.
func (m mutant) source() (string, error) {
	source, err := os.ReadFile(filepath.Join(root, engineDir, m.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.was); n != 1 {
		return "", fmt.Errorf("%s has %d times\n%s\nwant once: bring the mutant up to date", m.file, n, m.was)
	}
	return strings.Replace(string(source), m.was, m.is, 1), nil
}

// stages are the parts of the suite in the order in which they are tried: tables, which are fast; then properties
// with fewer cases than usual; then journeys.
var stages = [][]string{
	{"-test.skip=" + properties + "|^TestJourneys$|^TestABrokenEngine"},
	{"-test.run=" + properties, "-rapid.checks=150"},
	{"-test.run=^TestJourneys$", "-journeys=1600"},
}

// properties are the tests with random cases.
const properties = "^TestInvariant|^TestBlueGreen(ClientsAreServed|Stale|PausesEnd|AbortEnds|BackToStable|Decide|Leaves|Ends)"

// TestEveryMutantIsFound applies each mutant to the engine, one at a time, and runs the suite of the engine until
// something fails, which it must. The source is not touched: the compiler is told to read another file in its place.
func TestEveryMutantIsFound(t *testing.T) {
	for _, m := range chosen(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if by := foundBy(t, m); by == "" {
				t.Errorf("survives: nothing fails when %s: %s", m.name, m.harm)
			} else {
				t.Logf("found by %s", by)
			}
		})
	}
}

var howMany = flag.String("mutants", "all", "how many mutants are tried, evenly spread over those that there are; or all")

// chosen are the mutants to try.
func chosen(t *testing.T) []mutant {
	if *howMany == "all" {
		return mutants
	}
	n, err := strconv.Atoi(*howMany)
	if err != nil || n < 1 {
		t.Fatalf("-mutants=%s: must be a number of mutants, or all", *howMany)
	}
	var some []mutant
	for i := range min(n, len(mutants)) {
		some = append(some, mutants[i*len(mutants)/min(n, len(mutants))])
	}
	return some
}

// foundBy is the first test that fails with a mutant; empty if none does.
func foundBy(t *testing.T, m mutant) string {
	env := mutated(t, m)
	binary := filepath.Join(t.TempDir(), "engine.test")
	// Without vet and without symbols, which nobody needs here, a binary is made in half the time.
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary, "./"+engineDir)
	build.Dir, build.Env = root, env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("is no bug that can be compiled: %v\n%s", err, out)
	}
	for _, stage := range stages {
		run := exec.Command(binary, append([]string{"-test.failfast", "-test.timeout=5m"}, stage...)...)
		run.Dir, run.Env = filepath.Join(root, engineDir), env
		out, err := run.CombinedOutput()
		if err == nil {
			continue
		}
		if found := failed.FindSubmatch(out); found != nil {
			return string(found[1])
		}
		return "a crash"
	}
	return ""
}

// failed is the line of the first test that failed.
var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// TestAFailingJourneyIsReplayedByTheCommandThatItPrints: as people would do it.
func TestAFailingJourneyIsReplayedByTheCommandThatItPrints(t *testing.T) {
	m := mutants[slices.IndexFunc(mutants, func(m mutant) bool { return m.name == "all pods of the drained side go at once" })]
	first := exec.Command("go", "test", "./"+engineDir, "-run", "^TestJourneys$")
	first.Dir, first.Env = root, mutated(t, m)
	out, err := first.CombinedOutput()
	command := regexp.MustCompile(`(?m)replay with: (.+)$`).FindStringSubmatch(string(out))
	if err == nil || command == nil {
		t.Fatalf("no command was printed: %v\n%s", err, out)
	}
	again := exec.Command("sh", "-c", command[1])
	again.Dir, again.Env = root, mutated(t, m)
	replayed, err := again.CombinedOutput()
	if err == nil {
		t.Fatalf("%s does not fail:\n%s", command[1], replayed)
	}
	if was, is := why(out, command[1]), why(replayed, command[1]); was == "" || was != is {
		t.Errorf("%s\nfails with %q, and before with %q", command[1], is, was)
	}
	t.Logf("%s\nfails alike: %s", command[1], why(replayed, command[1]))
}

// why is what was wrong in the journey that a command repeats.
func why(out []byte, command string) string {
	before, _, _ := strings.Cut(string(out), command)
	found := regexp.MustCompile(`(?m)failed after \d+ tests: (.*)$`).FindAllStringSubmatch(before, -1)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1][1]
}

// mutated is an environment in which the go command reads the file of a mutant as the mutant has it, and rapid
// neither writes files nor takes long to shrink.
func mutated(t *testing.T, m mutant) []string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, engineDir, m.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := m.source()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: other}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, other, source)
	write(t, overlay, string(list))
	return append(os.Environ(), "GOFLAGS=-buildvcs=false -overlay="+overlay, "RAPID_NOFAILFILE=true", "RAPID_SHRINKTIME=0s")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
