// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	const before, one, many = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 ", "1 18 4711 20 21", "9 18 4711 20 21"
	for _, row := range []struct {
		name, stat string
		running    bool
		start      string
		ok         bool
	}{
		{"plain", "42 (etcd) S" + before + many, true, "4711", true},
		{"ended, not collected", "42 (etcd) Z" + before + one, false, "4711", true},
		{"killed, and only its first thread has ended", "42 (etcd) Z" + before + many, true, "4711", true},
		{"gone", "42 (etcd) X" + before + one, false, "4711", true},
		{"a name with blanks and parentheses", "42 (a) Z (b c)) R" + before + one, true, "4711", true},
		{"cut off", "42 (etcd) S 1 2", false, "", false},
		{"empty", "", false, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			running, start, ok := parseStat(strings.TrimSpace(row.stat))
			if running != row.running || start != row.start || ok != row.ok {
				t.Errorf("parseStat = %v, %q, %v; want %v, %q, %v", running, start, ok, row.running, row.start, row.ok)
			}
		})
	}
}
