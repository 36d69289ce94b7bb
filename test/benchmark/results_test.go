// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/load"
)

// What was measured alone takes its place on the page, and the rest of it stays.
func TestThePageKeepsWhatWasNotMeasured(t *testing.T) {
	o, err := parse([]string{"--only=trees"})
	if err != nil {
		t.Fatal(err)
	}
	second := []time.Duration{time.Second}
	r := results{options: o, time: time.Unix(0, 0), runs: []measured{{trees: load.Trees{Frame: second, Read: second, Listed: second}}}}
	first, err := r.page("")
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimPrefix(first, pageHead)
	if own == first || strings.Count(own, sectionMark) != 1 || !strings.Contains(own, "1970-01-01") || !strings.Contains(own, "`go run ./test/benchmark --only=trees`") {
		t.Fatalf("the page is\n%s", first)
	}
	for _, row := range []struct{ rule, before, want string }{
		{"again", first, first},
		{"in its place", pageHead + "\n## One\n\n1\n" + strings.ReplaceAll(own, "1970", "1969") + "\n## Two\n\n2\n", pageHead + "\n## One\n\n1\n" + own + "\n## Two\n\n2\n"},
		{"a new one is the last", pageHead + "\n## One\n\n1\n", pageHead + "\n## One\n\n1\n" + own},
	} {
		if got, err := r.page(row.before); err != nil || got != row.want {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", row.rule, err, got, row.want)
		}
	}
}

// The page in the source tree is as this program writes it, so that it can be written in part.
func TestThePageIsOurs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := (results{}).page(string(page)); err != nil || same != string(page) {
		t.Errorf("%v: nothing was measured, and %s becomes\n%s", err, resultsFile, same)
	}
}
