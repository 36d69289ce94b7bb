// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ports finds TCP ports on the loopback interface that nobody else is likely to take
// between the moment they are found and the moment a component listens on them, or while that
// component is restarted. It imports only the standard library.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

// The range that ports are taken from when the kernel's own says nothing else: below the ports that
// Linux gives to outgoing connections, above those that well-known services use.
const (
	lowest  = 20000
	highest = 32767
)

// attempts is how many random ports are tried before giving up.
const attempts = 200

// Range returns the ports, both ends included, that Pick may choose from. They stay below the range
// that the kernel hands to outgoing connections (given as the content of
// /proc/sys/net/ipv4/ip_local_port_range, empty where there is none): a client that redials a
// restarting component could otherwise be given the very port that the component listens on.
func Range(ephemeral string) (low, high int) {
	fields := strings.Fields(ephemeral)
	if len(fields) != 2 {
		return lowest, highest
	}
	first, err := strconv.Atoi(fields[0])
	if err != nil || first-1 > highest {
		return lowest, highest
	}
	if first-lowest < attempts {
		// Nothing useful is left below; those above lowest are as good as any.
		return lowest, highest
	}
	return lowest, first - 1
}

// Pick returns a port on 127.0.0.1 that is free now and not in taken.
func Pick(taken map[int]bool) (int, error) {
	ephemeral, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("cannot read the kernel's port range: %w", err)
	}
	low, high := Range(string(ephemeral))
	return pick(taken, func() int { return low + rand.IntN(high-low+1) }, Free)
}

func pick(taken map[int]bool, next func() int, free func(int) bool) (int, error) {
	for range attempts {
		port := next()
		if !taken[port] && free(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1 after %d attempts; stop what occupies them", attempts)
}

// Free says whether nothing listens on the port of 127.0.0.1 at this moment.
func Free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
