// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdsnapshot "go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
)

// Save writes a snapshot of the etcd that config leads to, which must be one endpoint, to path. The file is readable by
// its owner only, and gets its name when it is on the disk and its checksum has been read back from there. An existing
// file of that name is refused.
func Save(ctx context.Context, config clientv3.Config, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists already: a snapshot does not overwrite anything", path)
	}
	unfinished := path + unfinishedSuffix
	if err := save(ctx, config, unfinished); err != nil {
		os.Remove(unfinished)
		return fmt.Errorf("saving a snapshot to %s: %w", path, err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("saving a snapshot: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("saving a snapshot to %s: %w", path, err)
	}
	return nil
}

func save(ctx context.Context, config clientv3.Config, path string) error {
	if _, err := etcdsnapshot.SaveWithVersion(ctx, zap.NewNop(), config, path); err != nil {
		return err
	}
	_, err := Checksum(path)
	return err
}

// syncDir makes the names in a folder as durable as the files.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return fileutil.Fsync(file)
}

// removeUnfinished deletes what a process that was killed has left of a snapshot in the folder.
func removeUnfinished(dir string) error {
	for _, suffix := range []string{unfinishedSuffix, unfinishedSuffix + partSuffix} {
		left, err := filepath.Glob(filepath.Join(escapeGlob(dir), namePrefix+"*"+nameSuffix+suffix))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// escapeGlob makes a pattern that matches a path and nothing else.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
