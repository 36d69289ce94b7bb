// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	etcdsnapshot "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// revisionBump is how far the revision of a restored store lies above that of the snapshot, so that no resourceVersion
// that a client has seen of the lost store is met again with another meaning. Unit: revisions.
const revisionBump = 1_000_000_000

// Member is the etcd that a restored directory is for: the only member of a new cluster. Further ones join it with empty
// directories.
type Member struct {
	// Name is its name in the cluster, PeerURL where other members reach it.
	Name, PeerURL string
}

// Restore makes a snapshot the etcd directory dir, which must be empty or not exist, of a new cluster with one member.
// Every object keeps its UID. Revisions begin far above those of the snapshot, and all up to there are marked
// compacted, so that every watch has to list anew. Nothing is left behind if it fails, and dir gets its name only when
// it is complete. The caller sees to it that nobody else uses the directory around it.
func Restore(snapshot, dir string, member Member) error {
	sum, err := Checksum(snapshot)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: a snapshot is restored into an empty directory only, so that no data is lost; move what is there away", dir)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	unfinished := dir + unfinishedSuffix
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("removing what an earlier attempt to restore has left: %w", err)
	}
	err = etcdsnapshot.NewV3(zap.NewNop()).Restore(etcdsnapshot.RestoreConfig{
		SnapshotPath:   snapshot,
		Name:           member.Name,
		OutputDataDir:  unfinished,
		PeerURLs:       []string{member.PeerURL},
		InitialCluster: member.Name + "=" + member.PeerURL,
		// Another token is another cluster: a member that was not restored can never take part in this one.
		InitialClusterToken: fmt.Sprintf("sluice-restored-%x", sum[:8]),
		RevisionBump:        revisionBump,
		MarkCompacted:       true,
	})
	if err == nil {
		err = sign(unfinished, snapshot)
	}
	if err == nil {
		err = takePlace(unfinished, dir)
	}
	if err != nil {
		os.RemoveAll(unfinished)
		return fmt.Errorf("restoring snapshot %s: %w", snapshot, err)
	}
	return nil
}

// originFile is where a restored directory says what it was made of.
const originFile = "restored-from.json"

// Provenance says what a directory was made of.
type Provenance struct {
	// Snapshot is the path that the snapshot had, and Time when it was restored.
	Snapshot string    `json:"snapshot"`
	Time     time.Time `json:"time"`
}

// Origin is what an etcd directory was made of; nil if it was not restored, or does not exist.
func Origin(dir string) (*Provenance, error) {
	content, err := os.ReadFile(filepath.Join(dir, originFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Provenance{}
	if err := json.Unmarshal(content, p); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, originFile), err)
	}
	return p, nil
}

func sign(dir, snapshot string) error {
	content, err := json.Marshal(Provenance{Snapshot: snapshot, Time: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, originFile), append(content, '\n'), 0o600)
}

// takePlace gives a complete directory its name, over an empty one.
func takePlace(from, to string) error {
	if err := syncTree(from); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// syncTree waits until all that is in a folder is on the disk.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(path) // It does for files as well.
	})
}
