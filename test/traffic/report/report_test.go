// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"
	"time"
)

func TestCounting(t *testing.T) {
	var first, second Report
	for range 3 {
		first.Count("200 blue", "")
	}
	second.Count("500 yellow", "")
	second.Count("", "connection refused")
	sum := Sum(first, second)
	if sum.Requests() != 5 || sum.Failed() != 1 || sum.Errors() != 1 || sum.Lost() != 2 || sum.Of("blue") != 3 || sum.Of("yellow") != 1 {
		t.Errorf("the sum is %s", sum)
	}
	if got := sum.Share("yellow"); got != 25 {
		t.Errorf("the share of yellow is %v %%, not 25", got)
	}
	if got := (Report{}).Share("blue"); got != 0 {
		t.Errorf("without answers the share is %v", got)
	}
	if first.Requests() != 3 || second.Requests() != 2 {
		t.Error("the parts were changed by their sum")
	}
}

func TestBetween(t *testing.T) {
	began := time.Unix(1_000, 0)
	var all []Report
	for i := range 5 {
		all = append(all, Report{Time: began.Add(time.Duration(i) * time.Second)})
	}
	// The interval that ends at second 2 began at second 1.
	within := Between(all, began.Add(time.Second), began.Add(3500*time.Millisecond))
	if len(within) != 2 || !within[0].Time.Equal(all[2].Time) || !within[1].Time.Equal(all[3].Time) {
		t.Errorf("%d intervals: %v", len(within), within)
	}
}
