// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	for _, test := range []struct {
		rule string
		got  Row
		want Row
	}{
		{"a ratio at its goal reaches it", Compared("time, s", 10, 14, 1, 1.4),
			Row{"time, s", "10.0", "14.0", "1.40", "ratio ≤ 1.4", Reached}},
		{"a ratio above its goal misses it", Compared("time, s", 10, 14.1, 1, 1.4),
			Row{"time, s", "10.0", "14.1", "1.41", "ratio ≤ 1.4", Missed}},
		{"the verdict is on the figure, not on what is shown of it", Compared("time, s", 1000, 1401, 0, 1.4),
			Row{"time, s", "1000", "1401", "1.40", "ratio ≤ 1.4", Missed}},
		{"without a goal a ratio is information", Compared("writes", 4, 2, 0, 0),
			Row{"writes", "4", "2", "0.50", "-", ""}},
		{"nothing to compare with has no ratio and no verdict", Compared("writes", 0, 2, 0, 1.3),
			Row{"writes", "0", "2", "-", "-", ""}},
		{"what Sluice alone has can have a goal", Alone("p50, ms", 12.34, 1, 15),
			Row{"p50, ms", "-", "12.3", "-", "≤ 15", Reached}},
		{"and can miss it", Alone("p99, ms", 40.01, 1, 40),
			Row{"p99, ms", "-", "40.0", "-", "≤ 40", Missed}},
		{"or have none", Alone("dry runs", 1, 1, 0),
			Row{"dry runs", "-", "1.0", "-", "-", ""}},
		{"a goal may not depend on the peer", Within("list, s", 0.5, 0.4, 2, 0.45),
			Row{"list, s", "0.50", "0.40", "0.80", "≤ 0.45", Reached}},
		{"and is missed though the peer is slower", Within("list, s", 2, 1, 2, 0.5),
			Row{"list, s", "2.00", "1.00", "0.50", "≤ 0.5", Missed}},
		{"what must not happen has not", Never("failures", 2, 0),
			Row{"failures", "2", "0", "-", "none", Reached}},
		{"once is too often, whatever happened to the peer", Never("failures", 2, 1),
			Row{"failures", "2", "1", "-", "none", Missed}},
	} {
		if test.got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.rule, test.got, test.want)
		}
	}
}

func TestAnyMissed(t *testing.T) {
	reached, missed := Alone("a", 1, 0, 2), Alone("b", 3, 0, 2)
	if AnyMissed([]Row{reached, Alone("c", 9, 0, 0)}) {
		t.Error("a figure without a goal cannot miss it")
	}
	if !AnyMissed([]Row{reached, missed}) {
		t.Error("one missed goal is enough")
	}
}

func TestText(t *testing.T) {
	var out strings.Builder
	if err := (Table{"Deployment", []Row{Compared("time, s", 15, 18.6, 1, 1.4), Alone("promote p50, ms", 9, 1, 15)}}).Text(&out); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"Measure           Deployment   Sluice   Ratio   Goal          Verdict",
		"time, s                 15.0     18.6    1.24   ratio ≤ 1.4   reached",
		"promote p50, ms            -      9.0       -   ≤ 15          reached",
		"",
	}, "\n")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestMarkdown(t *testing.T) {
	var out strings.Builder
	if err := (Table{"Listing", []Row{Alone("promote p50, ms", 16, 1, 15)}}).Markdown(&out); err != nil {
		t.Fatal(err)
	}
	want := "| Measure | Listing | Sluice | Ratio | Goal | Verdict |\n|---|---:|---:|---:|---|---|\n| promote p50, ms | - | 16.0 | - | ≤ 15 | MISSED |\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
