// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// freeBytes is what is free on the volume of a folder, for a process without privileges.
func freeBytes(dir string) (uint64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("volume of %s: %w", dir, err)
	}
	return uint64(stat.Bavail) * uint64(stat.Bsize), nil
}

// OnSameVolume tells whether two folders, which need not exist yet, are on one volume: then both are lost together.
func OnSameVolume(a, b string) (bool, error) {
	first, err := deviceOf(a)
	if err != nil {
		return false, err
	}
	second, err := deviceOf(b)
	return first == second, err
}

// deviceOf is the device of a folder, or of the nearest one above it that exists.
func deviceOf(dir string) (uint64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	for {
		info, err := os.Stat(dir)
		if os.IsNotExist(err) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return 0, err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return 0, fmt.Errorf("%s: the device is not known", dir)
		}
		return uint64(stat.Dev), nil
	}
}
