// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package process

import (
	"os/exec"
	"strconv"
	"strings"
)

// lookup returns what tells the process with this id apart from others before and after it, and
// whether it still executes anything.
func lookup(pid int) (birth string, running bool) {
	output, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", false
	}
	state, start, ok := strings.Cut(strings.TrimSpace(string(output)), " ")
	if !ok {
		return "", false
	}
	return strings.TrimSpace(start), !strings.HasPrefix(state, "Z")
}
