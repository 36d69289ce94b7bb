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

// CPU is the time that components have spent on processors, in user and system mode, by their names.
type CPU map[string]time.Duration

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// The fields of /proc/PID/stat that follow the name of the program, counted from there: utime and stime
// are fields 14 and 15 of proc(5), the state, which is the first after the name, is field 3.
const (
	fieldUser   = 11
	fieldSystem = 12
)

// CPU reads what all components have used since they were started.
func (p *Plane) CPU() (CPU, error) {
	used := CPU{}
	for _, c := range p.record.Components {
		if !c.Wanted {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.PID))
		if err != nil {
			return nil, fmt.Errorf("reading what %s has used (this needs Linux, and the process to run): %w", c.Name, err)
		}
		if used[c.Name], err = parseStat(string(stat)); err != nil {
			return nil, fmt.Errorf("reading what %s has used: %w", c.Name, err)
		}
	}
	return used, nil
}

// Since returns what was used after an earlier reading.
func (c CPU) Since(earlier CPU) CPU {
	used := CPU{}
	for name, total := range c {
		used[name] = total - earlier[name]
	}
	return used
}

// Total is the sum over all components.
func (c CPU) Total() time.Duration {
	var total time.Duration
	for _, used := range c {
		total += used
	}
	return total
}

// parseStat reads the time in user and system mode. The name of the program stands in parentheses before
// it and may itself hold blanks and parentheses.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= fieldSystem {
		return 0, fmt.Errorf("%q is not the status of a process", stat)
	}
	var ticks int64
	for _, field := range []string{fields[fieldUser], fields[fieldSystem]} {
		value, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number of ticks: %w", field, err)
		}
		ticks += value
	}
	return time.Duration(ticks) * tick, nil
}
