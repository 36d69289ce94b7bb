// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package reliability

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The document tells of the faults that there are tests of, in their order, and of no other.
func TestTheDocumentHasEveryFault(t *testing.T) {
	_, text := read(t)
	_, rows, _, err := split(text)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	if !slices.Equal(names, faults) {
		t.Errorf("docs/reliability.md has\n%s\nand there are tests of\n%s", strings.Join(names, "\n"), strings.Join(faults, "\n"))
	}
}

func TestTable(t *testing.T) {
	text := "before\n" + tableBegins + tableEnds + "after\n"
	later := Row{Fault: DiskFull, Times: 1}
	first := Row{Fault: HostSlow, Times: 2, Lasting: time.Minute, Seen: Seen{Acknowledged: 7, Failed: 1, States: 9, Gaps: 2}}
	for _, r := range []Row{later, first, first} {
		var err error
		if text, err = with(text, r); err != nil {
			t.Fatal(err)
		}
	}
	want := "before\n" + tableBegins + tableHead +
		"| host answers 500 ms late | 2 | 1m0s | 7 acknowledged, 1 failed | 9, 2 gaps | nothing |\n" +
		"| our disk is full | 1 | – | – | – | nothing |\n" + tableEnds + "after\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	for _, test := range []struct {
		what string
		row  Row
		says string
	}{
		{"the row that is there, with other figures", Row{Fault: HostSlow, Times: 1}, ""},
		{"a fault that the document lacks", Row{Fault: HostHangs, Times: 2}, "does not tell of"},
	} {
		if err := holds(text, test.row); (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", test.what, err, test.says)
		}
	}
	if err := holds(strings.ReplaceAll(text, lost, "something"), later); err == nil || !strings.Contains(err.Error(), "nothing was lost") {
		t.Errorf("a document that says that something was lost: %v", err)
	}
	if _, err := with("no table", first); err == nil {
		t.Error("a document without a table must be refused")
	}
}
