// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"testing"
	"time"
)

func TestParseStatus(t *testing.T) {
	for _, test := range []struct {
		rule, status string
		want         Memory
		wantError    bool
	}{
		{rule: "kB are 1024 bytes", status: "Name:\tsluice\nVmPeak:\t 9 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n", want: Memory{Now: 1 << 20, Most: 2 << 20}},
		{rule: "a process that has ended has none", status: "Name:\tsluice\nState:\tZ\n", wantError: true},
		{rule: "another unit is an error", status: "VmHWM:\t2 MB\nVmRSS:\t1 MB\n", wantError: true},
	} {
		got, err := parseStatus(test.status)
		if (err != nil) != test.wantError || !test.wantError && got != test.want {
			t.Errorf("%s: got %+v, %v; want %+v, error %v", test.rule, got, err, test.want, test.wantError)
		}
	}
}

func TestParseAge(t *testing.T) {
	const stat = "42 (a b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 12 0 1000 0 0"
	if got, err := parseAge(stat, "12.50 20.00\n"); err != nil || got != 2500*time.Millisecond {
		t.Errorf("started after 10 s, asked after 12.5 s: got %v, %v", got, err)
	}
	if _, err := parseAge("42 (etcd) S 1", "12.50 20.00\n"); err == nil {
		t.Error("too few fields are no error")
	}
}
