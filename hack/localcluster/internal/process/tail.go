// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"io"
	"os"
)

// tailBytes is how much of the end of a log is looked at.
const tailBytes = 64 << 10

// Size is the present length of the log, 0 if there is none: what a later Tail may start from.
func Size(log string) int64 {
	info, err := os.Stat(log)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Tail returns the last lines of the log, at most n, none that were there before the offset from.
func Tail(log string, from int64, n int) []string {
	file, err := os.Open(log)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	content, err := io.ReadAll(io.NewSectionReader(file, max(from, info.Size()-tailBytes), tailBytes))
	if err != nil {
		return nil
	}
	content = bytes.TrimRight(content, "\n")
	if len(content) == 0 {
		return nil
	}
	lines := bytes.Split(content, []byte("\n"))
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	result := make([]string, len(lines))
	for i, line := range lines {
		result[i] = string(line)
	}
	return result
}
