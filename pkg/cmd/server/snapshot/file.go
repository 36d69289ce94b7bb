// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// namePrefix, nameSuffix and nameTime make the name of a snapshot, which sorts by time: snapshot-20260102T150405Z.db.
	namePrefix, nameSuffix = "snapshot-", ".db"
	nameTime               = "20060102T150405Z"
	// unfinishedSuffix is what is appended to the name while a snapshot is written and checked. etcd's client appends
	// partSuffix to that.
	unfinishedSuffix, partSuffix = ".unfinished", ".part"
)

// File is a complete snapshot in a folder.
type File struct {
	// Path is where it is.
	Path string
	// Taken is when it was taken, as its name says. Resolution: seconds.
	Taken time.Time
	// Size is its length. Unit: bytes.
	Size int64
}

// FileName is the name of a snapshot taken at a time.
func FileName(taken time.Time) string {
	return namePrefix + taken.UTC().Format(nameTime) + nameSuffix
}

// List returns the complete snapshots in a folder, the oldest first. What is being written, and what is not ours, is
// passed over. A folder that does not exist has none.
func List(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	var files []File
	for _, entry := range entries {
		stamp, isOurs := strings.CutPrefix(entry.Name(), namePrefix)
		stamp, isWhole := strings.CutSuffix(stamp, nameSuffix)
		taken, err := time.Parse(nameTime, stamp)
		if !isOurs || !isWhole || err != nil || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // Somebody has deleted it since.
		}
		if err != nil {
			return nil, fmt.Errorf("listing snapshots: %w", err)
		}
		files = append(files, File{Path: filepath.Join(dir, entry.Name()), Taken: taken, Size: info.Size()})
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Or(a.Taken.Compare(b.Taken), cmp.Compare(a.Path, b.Path)) })
	return files, nil
}

// Find returns the path of a snapshot: path itself, or the newest snapshot in it if it is a folder.
func Find(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	if !info.IsDir() {
		return path, nil
	}
	files, err := List(path)
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("there is no snapshot in the folder %s: a complete one is called %s", path, namePrefix+nameTime+nameSuffix)
	}
	return files[len(files)-1].Path, nil
}

// Checksum returns the SHA-256 that etcd has appended to a snapshot. It fails unless it is that of the rest of the file.
func Checksum(path string) ([sha256.Size]byte, error) {
	var want [sha256.Size]byte
	file, err := os.Open(path)
	if err != nil {
		return want, fmt.Errorf("snapshot: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return want, fmt.Errorf("snapshot: %w", err)
	}
	content := info.Size() - sha256.Size
	// A database consists of whole sectors, so that what is beyond them is the checksum.
	if content <= 0 || content%512 != 0 {
		return want, fmt.Errorf("%s is not a complete snapshot: it has %d bytes, and ends with no checksum", path, info.Size())
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, file, content); err != nil {
		return want, fmt.Errorf("reading snapshot %s: %w", path, err)
	}
	if _, err := io.ReadFull(file, want[:]); err != nil {
		return want, fmt.Errorf("reading snapshot %s: %w", path, err)
	}
	if got := sum.Sum(nil); !slices.Equal(got, want[:]) {
		return want, fmt.Errorf("snapshot %s is damaged: its checksum says %x, its content has %x", path, want, got)
	}
	return want, nil
}
