// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"strings"
)

// The fields of /proc/PID/stat that follow the name of the program, counted from there (proc(5)
// counts from the id: state is its field 3, num_threads its field 20, starttime its field 22).
const (
	fieldState     = 0
	fieldThreads   = 17
	fieldStartTime = 19
)

// lookup returns what tells the process with this id apart from others before and after it, and
// whether it still executes anything.
func lookup(pid int) (birth string, running bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", false
	}
	running, start, ok := parseStat(string(stat))
	if !ok {
		return "", false
	}
	return strings.TrimSpace(string(boot)) + "/" + start, running
}

// parseStat reads whether a process executes anything, and its start time, in clock ticks since boot. The state is that
// of its first thread: a process that is killed has others for a moment longer, which hold its files and their locks. The
// name of the program stands in parentheses before the fields and may itself hold blanks and parentheses.
func parseStat(stat string) (running bool, start string, ok bool) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return false, "", false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= fieldStartTime {
		return false, "", false
	}
	switch fields[fieldState] {
	case "X":
		running = false
	case "Z":
		running = fields[fieldThreads] != "0" && fields[fieldThreads] != "1"
	default:
		running = true
	}
	return running, fields[fieldStartTime], true
}
