// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package reliability

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/cluster"
)

var (
	long  = flag.Bool("faults.long", false, "make faults last as long as docs/reliability.md tells of: a minute without a host, for example")
	write = flag.Bool("reliability.write", false, "write what the tests of faults have seen into docs/reliability.md; packages one after another (-p 1)")
)

// Long is true if faults are to be made as docs/reliability.md tells of them.
func Long() bool { return *long }

// Times is how often a fault is to be made: twice with -faults.long, else once.
func Times() int {
	if *long {
		return 2
	}
	return 1
}

// Lasting is how long a fault is to last: long with -faults.long, else brief.
func Lasting(brief, longer time.Duration) time.Duration {
	if *long {
		return longer
	}
	return brief
}

// The faults that there are tests of.
const (
	HostCloses       = "host unreachable, connections closed"
	HostHangs        = "host unreachable, connections hang"
	HostSlow         = "host answers 500 ms late"
	HostRefuses429   = "host refuses writes with 429"
	HostRefuses500   = "host refuses writes with 500"
	WatchesEnd       = "all watches of the host end, all the time"
	WatchesCompacted = "watches of the host are compacted"
	APIServerKilled  = "kube-apiserver of the host is killed, and started again"
	HostEtcdKilled   = "etcd of the host is killed, and started again"
	PolicyRefuses    = "a policy of the host refuses more pods"
	WebhookRefuses   = "a webhook of the host refuses more pods"
	QuotaRefuses     = "a quota of the host refuses ReplicaSets"
	ClockForward     = "the clock jumps an hour forward"
	ClockBack        = "the clock jumps an hour back"
	Flood            = "a flood of events of pods"
	StoreFull        = "our etcd reaches its quota"
	FullOfRollouts   = "our etcd reaches its quota, full of Rollouts"
	DiskFull         = "our disk is full"
)

// faults are all of them, in the order of the document.
var faults = []string{HostCloses, HostHangs, HostSlow, HostRefuses429, HostRefuses500, WatchesEnd, WatchesCompacted,
	APIServerKilled, HostEtcdKilled, PolicyRefuses, WebhookRefuses, QuotaRefuses, ClockForward, ClockBack, Flood, StoreFull, FullOfRollouts, DiskFull}

// Seen is what a test of a fault has seen. It is for people: what must not be fails the test.
type Seen struct {
	// Acknowledged and Failed are writes of people to Rollouts while there was the fault.
	Acknowledged, Failed int
	// States is how many states of pods and ReplicaSets were held against the bounds, Gaps how often a watch of them
	// broke together with the host.
	States, Gaps int
}

// Add adds what was seen the next time.
func (s *Seen) Add(next Seen) {
	s.Acknowledged += next.Acknowledged
	s.Failed += next.Failed
	s.States += next.States
	s.Gaps += next.Gaps
}

// Row is a row of the table.
type Row struct {
	// Fault is one of the constants, Times how often it was made.
	Fault string
	Times int
	// Lasting is for how long each time; 0 if that says nothing.
	Lasting time.Duration
	Seen
}

const (
	tableBegins = "<!-- table: make reliability -->\n"
	tableEnds   = "<!-- end of table -->\n"
	tableHead   = "| fault | times | each for | writes of people meanwhile | states watched | lost |\n|---|---|---|---|---|---|\n"
	// lost is what is lost: a test that has found otherwise has failed, and makes no row.
	lost = "nothing"
)

// cells are the row as it is in the document.
func (r Row) cells() []string {
	lasting, writes, states := "–", "–", "–"
	if r.Lasting > 0 {
		lasting = r.Lasting.Round(time.Second).String()
	}
	if r.Acknowledged+r.Failed > 0 {
		writes = fmt.Sprintf("%d acknowledged, %d failed", r.Acknowledged, r.Failed)
	}
	if states = fmt.Sprint(r.States); r.Gaps > 0 {
		states += fmt.Sprintf(", %d gaps", r.Gaps)
	} else if r.States == 0 {
		states = "–"
	}
	return []string{r.Fault, fmt.Sprint(r.Times), lasting, writes, states, lost}
}

// Record has the document tell of the row, or holds the document against it. A test that has failed records nothing.
func Record(t *testing.T, r Row) {
	t.Helper()
	if !slices.Contains(faults, r.Fault) {
		t.Fatalf("%q is not among the faults of the document", r.Fault)
	}
	if t.Failed() {
		return
	}
	path, text := read(t)
	if *write {
		text, err := with(text, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := holds(text, r); err != nil {
		t.Errorf("%v: make reliability", err)
	}
}

func read(t *testing.T) (path, text string) {
	t.Helper()
	repository, err := cluster.Repository()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(repository, "docs", "reliability.md")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, string(content)
}

// split divides the document at its table, whose rows it returns as cells.
func split(text string) (before string, rows [][]string, after string, err error) {
	before, rest, begins := strings.Cut(text, tableBegins)
	table, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", nil, "", fmt.Errorf("docs/reliability.md has no table between %q and %q", tableBegins, tableEnds)
	}
	for line := range strings.Lines(strings.TrimPrefix(table, tableHead)) {
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return before, rows, after, nil
}

// with is the document with the row in place of an earlier one of the same fault.
func with(text string, r Row) (string, error) {
	before, rows, after, err := split(text)
	if err != nil {
		return "", err
	}
	cells := map[string][]string{}
	for _, row := range rows {
		cells[row[0]] = row
	}
	cells[r.Fault] = r.cells()
	var table strings.Builder
	for _, fault := range faults {
		if row := cells[fault]; row != nil {
			fmt.Fprintf(&table, "| %s |\n", strings.Join(row, " | "))
		}
	}
	return before + tableBegins + tableHead + table.String() + tableEnds + after, nil
}

// holds tells what the document says otherwise.
func holds(text string, r Row) error {
	_, rows, _, err := split(text)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row[0] != r.Fault {
			continue
		}
		if len(row) != len(r.cells()) || row[len(row)-1] != lost {
			return fmt.Errorf("docs/reliability.md says %q; %s was lost", row, lost)
		}
		return nil
	}
	return fmt.Errorf("docs/reliability.md does not tell of %q", r.Fault)
}
