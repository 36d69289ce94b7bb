// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// TestEveryMutantIsFound applies each mutant to the engine, one at a time, and runs the suite of the engine: its
// tables, its properties with few cases, and a few hundred journeys. The suite must fail. The source is not
// touched: the compiler is told to read another file in its place.
func TestEveryMutantIsFound(t *testing.T) {
	if len(mutants) < fewest {
		t.Fatalf("there are %d mutants, want %d or more", len(mutants), fewest)
	}
	for i, m := range mutants {
		if slices.ContainsFunc(mutants[:i], func(other mutant) bool { return other.name == m.name }) {
			t.Fatalf("two mutants are called %q", m.name)
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			out, err := suite(t, m, "-run", ".", "-args", "-rapid.checks=150", "-journeys=480", "-rapid.nofailfile", "-rapid.shrinktime=0s").CombinedOutput()
			found := failed.FindStringSubmatch(string(out))
			switch {
			case err == nil:
				t.Errorf("survives: nothing fails when %s: %s", m.name, m.harm)
			case found == nil:
				t.Errorf("is no test of the suite, which does not run with it: %s", out)
			default:
				t.Logf("found by %s", found[1])
			}
		})
	}
}

// failed is the line of the first test that failed.
var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// TestAFailingJourneyIsReplayedByTheCommandThatItPrints: as people would do it.
func TestAFailingJourneyIsReplayedByTheCommandThatItPrints(t *testing.T) {
	m := mutants[slices.IndexFunc(mutants, func(m mutant) bool { return m.name == "all pods of the drained side go at once" })]
	out, err := suite(t, m, "-run", "^TestJourneys$").CombinedOutput()
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

// suite is a run of the tests of the engine with a mutant in it.
func suite(t *testing.T, m mutant, args ...string) *exec.Cmd {
	t.Helper()
	// -vet is for code that people wrote; without symbols the binaries are linked in half the time.
	command := exec.Command("go", append([]string{"test", "-count=1", "-failfast", "-vet=off", "-ldflags=-s -w", "./" + engineDir}, args...)...)
	command.Dir, command.Env = root, mutated(t, m)
	return command
}

// mutated is an environment in which the go command reads the file of a mutant as the mutant has it, and rapid
// neither writes files nor takes long to shrink.
func mutated(t *testing.T, m mutant) []string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, engineDir, m.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.was); n != 1 {
		t.Fatalf("%s has %d times\n%s\nwant once: bring the mutant up to date", m.file, n, m.was)
	}
	dir := t.TempDir()
	other, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: other}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, other, strings.Replace(string(source), m.was, m.is, 1))
	write(t, overlay, string(list))
	return append(os.Environ(), "GOFLAGS=-buildvcs=false -overlay="+overlay, "RAPID_NOFAILFILE=true", "RAPID_SHRINKTIME=1s")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
