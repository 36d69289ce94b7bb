// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"net"
	"testing"
)

func TestRange(t *testing.T) {
	for _, row := range []struct {
		name, ephemeral string
		low, high       int
	}{
		{"no such file: the default", "", 20000, 32767},
		{"Linux as it comes", "32768\t60999\n", 20000, 32767},
		{"a wider ephemeral range is kept clear", "25000 65535", 20000, 24999},
		{"a narrower ephemeral range changes nothing", "49152 65535", 20000, 32767},
		{"everything is ephemeral: better than nothing", "1024 65535", 20000, 32767},
		{"too few left below", "20100 65535", 20000, 32767},
		{"garbage", "a b", 20000, 32767},
	} {
		t.Run(row.name, func(t *testing.T) {
			if low, high := Range(row.ephemeral); low != row.low || high != row.high {
				t.Errorf("Range(%q) = %d, %d; want %d, %d", row.ephemeral, low, high, row.low, row.high)
			}
		})
	}
}

func TestPick(t *testing.T) {
	counter := func(start int) func() int {
		return func() int { start++; return start }
	}
	for _, row := range []struct {
		name  string
		taken map[int]bool
		free  func(int) bool
		want  int
		fails bool
	}{
		{"the first free one", nil, func(int) bool { return true }, 101, false},
		{"not one that is taken already", map[int]bool{101: true, 102: true}, func(int) bool { return true }, 103, false},
		{"not one that is listened on", nil, func(p int) bool { return p > 105 }, 106, false},
		{"gives up", nil, func(int) bool { return false }, 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := pick(row.taken, counter(100), row.free)
			if got != row.want || (err != nil) != row.fails {
				t.Errorf("pick = %d, %v; want %d, error %v", got, err, row.want, row.fails)
			}
		})
	}
}

func TestFreeSeesAListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if Free(port) {
		t.Errorf("port %d is listened on, yet called free", port)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if !Free(port) {
		t.Errorf("port %d is closed, yet not called free", port)
	}
}
