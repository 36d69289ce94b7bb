// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/server/v3/storage/wal"
)

// The files in the data directory, beside those of the embedded etcd.
const (
	// ownerFile holds the name of the member that the directory belongs to.
	ownerFile = "member"
	// foundingFile is there while a cluster is being founded.
	foundingFile = "founding"
	// discardedFolder is the data that was put aside last.
	discardedFolder = "etcd.discarded"
)

// Disk is the data directory of a member.
type Disk struct {
	// Dir is the data directory, Etcd the folder in it that etcd has.
	Dir, Etcd string
}

// Owner is the member that a data directory belongs to; empty if it belongs to none, as that of a server that is alone.
func Owner(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Look says what is in the directory.
func (d Disk) Look() (content Content, owner string, err error) {
	if owner, err = Owner(d.Dir); err != nil {
		return "", "", err
	}
	_, err = os.Stat(filepath.Join(d.Dir, foundingFile))
	switch {
	case err == nil || !wal.Exist(filepath.Join(d.Etcd, "member", "wal")):
		return Empty, owner, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("data directory: %w", err)
	case owner == "":
		return Standalone, owner, nil
	}
	return Joined, owner, nil
}

// Own notes that the directory belongs to a member.
func (d Disk) Own(name string) error {
	if owner, err := Owner(d.Dir); err != nil || owner == name {
		return err
	}
	return d.put(ownerFile, name+"\n")
}

// Clear removes what etcd may have left of an attempt. It must be called only if Look says Empty.
func (d Disk) Clear() error { return os.RemoveAll(d.Etcd) }

// Founding notes that what etcd writes from now on is of no worth until Founded is called.
func (d Disk) Founding() error { return d.put(foundingFile, "") }

// Founded notes that the data is good. Nothing may be acknowledged before it has returned.
func (d Disk) Founded() error {
	if err := os.Remove(filepath.Join(d.Dir, foundingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.sync()
}

// Discard puts the data of etcd aside, in the place of what was put aside before.
func (d Disk) Discard() error {
	aside := filepath.Join(d.Dir, discardedFolder)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(d.Etcd, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.sync()
}

// put writes a file that is whole, or is not there.
func (d Disk) put(name, content string) error {
	if err := writeWhole(filepath.Join(d.Dir, name), []byte(content)); err != nil {
		return err
	}
	return d.sync()
}

// sync makes the names in the directory last.
func (d Disk) sync() error {
	dir, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeWhole replaces a file by one that only we may read; whoever reads it meanwhile sees the one or the other.
func writeWhole(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
