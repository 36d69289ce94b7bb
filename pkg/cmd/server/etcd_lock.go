// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"k8s.io/klog/v2"
)

// dirLock is the exclusive right to a data directory. The kernel drops it when the process ends,
// however it ends.
type dirLock struct {
	file *fileutil.LockedFile
}

// errDirInUse says that another process has the data directory.
var errDirInUse = errors.New("in use")

// lockDir takes the directory, or says at once which process has it. etcd would wait for ever.
func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "lock")
	file, err := fileutil.TryLockFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("data directory %s is %w by %s: stop that process, or give this one another --data-dir", dir, errDirInUse, lockHolder(path))
	}
	if err != nil {
		return nil, fmt.Errorf("taking data directory %s: %w", dir, err)
	}
	l := &dirLock{file: file}
	if err := l.sign(); err != nil {
		l.release()
		return nil, fmt.Errorf("taking data directory %s: %w", dir, err)
	}
	return l, nil
}

// sign leaves word of who we are. A process id alone says little when both are in containers.
func (l *dirLock) sign() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.WriteAt(fmt.Appendf(nil, "process %d on host %s\n", os.Getpid(), host), 0)
	return err
}

func lockHolder(path string) string {
	text, err := os.ReadFile(path)
	if holder := strings.TrimSpace(string(text)); err == nil && holder != "" {
		return holder
	}
	return "another process"
}

func (l *dirLock) release() {
	if err := l.file.Close(); err != nil {
		klog.ErrorS(err, "Could not release the data directory")
	}
}
