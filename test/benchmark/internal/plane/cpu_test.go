// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for _, test := range []struct {
		rule, stat string
		want       time.Duration
		wantError  bool
	}{
		{rule: "user and system mode add up, in hundredths of a second",
			stat: "42 (etcd) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 12 0 1000 0 0", want: 3 * time.Second},
		{rule: "the name may hold blanks and parentheses",
			stat: "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 12 0 1000 0 0", want: 30 * time.Millisecond},
		{rule: "too few fields are an error", stat: "42 (etcd) S 1", wantError: true},
		{rule: "so is a field that is no number",
			stat: "42 (etcd) S 1 42 42 0 -1 4194560 100 0 0 0 x 50 7 8", wantError: true},
	} {
		got, err := parseStat(test.stat)
		if got != test.want || (err != nil) != test.wantError {
			t.Errorf("%s: got %v, %v; want %v, error %v", test.rule, got, err, test.want, test.wantError)
		}
	}
}

func TestCPU(t *testing.T) {
	before := CPU{"a": time.Second, "b": 2 * time.Second}
	after := CPU{"a": 3 * time.Second, "b": 2500 * time.Millisecond}
	used := after.Since(before)
	if used["a"] != 2*time.Second || used["b"] != 500*time.Millisecond || used.Total() != 2500*time.Millisecond {
		t.Errorf("got %v", used)
	}
}
