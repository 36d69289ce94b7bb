// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// fieldStarted is when the process was started, counted as fieldUser is: field 22 of proc(5), in ticks since boot.
const fieldStarted = 19

// Memory is what a component has resident, what of a database is mapped included. Unit: bytes.
type Memory struct {
	// Now is at this moment, Most the most since it was started.
	Now, Most int64
}

// Memory reads it of one component.
func (p *Plane) Memory(name string) (Memory, error) {
	c, err := p.component(name)
	if err != nil {
		return Memory{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.PID))
	if err != nil {
		return Memory{}, fmt.Errorf("reading what memory %s has (this needs Linux, and the process to run): %w", name, err)
	}
	return parseStatus(string(status))
}

// parseStatus reads VmRSS and VmHWM, which are in kB.
func parseStatus(status string) (memory Memory, err error) {
	for field, to := range map[string]*int64{"VmRSS:": &memory.Now, "VmHWM:": &memory.Most} {
		_, rest, found := strings.Cut(status, field)
		words := strings.Fields(rest)
		if !found || len(words) < 2 || words[1] != "kB" {
			return memory, fmt.Errorf("the status of the process has no %s in kB", field)
		}
		if *to, err = strconv.ParseInt(words[0], 10, 64); err != nil {
			return memory, fmt.Errorf("%s: %w", field, err)
		}
		*to <<= 10
	}
	return memory, nil
}

// age is how long ago a process was started.
func age(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	return parseAge(string(stat), string(uptime))
}

func parseAge(stat, uptime string) (time.Duration, error) {
	fields, up := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]), strings.Fields(uptime)
	if len(fields) <= fieldStarted || len(up) == 0 {
		return 0, fmt.Errorf("%q and %q are not the status of a process and the age of the machine", stat, uptime)
	}
	started, err := strconv.ParseInt(fields[fieldStarted], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of ticks: %w", fields[fieldStarted], err)
	}
	now, err := strconv.ParseFloat(up[0], 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of seconds: %w", up[0], err)
	}
	return time.Duration(now*float64(time.Second)) - time.Duration(started)*tick, nil
}
