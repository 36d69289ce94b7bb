// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"strings"
	"testing"
)

const before = `# TYPE requests counter
requests{verb="POST",resource="pods"} 5
requests{verb="PATCH",resource="pods"} 1
requests{verb="GET",resource="pods"} 100
`

const after = `# TYPE requests counter
requests{verb="POST",resource="pods"} 8
requests{verb="PATCH",resource="pods"} 1
requests{verb="PUT",resource="pods",subresource="status"} 4
requests{verb="GET",resource="pods"} 200
`

func TestAdded(t *testing.T) {
	earlier, err := ParseMetrics(strings.NewReader(before))
	if err != nil {
		t.Fatal(err)
	}
	later, err := ParseMetrics(strings.NewReader(after))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rule, name string
		labels     Labels
		want       float64
	}{
		{"without labels all series count", "requests", nil, 107},
		{"a label may have several values", "requests", Labels{"verb": {"POST", "PATCH", "PUT"}}, 7},
		{"a label that must be empty may be absent", "requests", Labels{"verb": {"POST", "PUT"}, "subresource": {""}}, 3},
		{"a series that is new grew from 0", "requests", Labels{"subresource": {"status"}}, 4},
		{"a name that is unknown is 0", "answers", nil, 0},
	} {
		if got := later.Added(earlier, test.name, test.labels); got != test.want {
			t.Errorf("%s: got %v, want %v", test.rule, got, test.want)
		}
	}
}

func TestParseMetricsRefusesOtherText(t *testing.T) {
	if _, err := ParseMetrics(strings.NewReader("<html>no</html>\n")); err == nil {
		t.Error("no error")
	}
}
