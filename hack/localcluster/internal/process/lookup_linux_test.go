// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	tail := " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, row := range []struct {
		name, stat, state, start string
		ok                       bool
	}{
		{"plain", "42 (etcd) S" + tail, "S", "4711", true},
		{"ended, not collected", "42 (etcd) Z" + tail, "Z", "4711", true},
		{"a name with blanks and parentheses", "42 (a) Z (b c)) R" + tail, "R", "4711", true},
		{"cut off", "42 (etcd) S 1 2", "", "", false},
		{"empty", "", "", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			state, start, ok := parseStat(strings.TrimSpace(row.stat))
			if state != row.state || start != row.start || ok != row.ok {
				t.Errorf("parseStat = %q, %q, %v; want %q, %q, %v", state, start, ok, row.state, row.start, row.ok)
			}
		})
	}
}
