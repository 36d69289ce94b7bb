// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/cmd/server/snapshot"
)

// The defaults of SnapshotOptions.
const (
	// DefaultSnapshotInterval is how often a snapshot is taken. What is newer than the last one has to be rebuilt after
	// the loss of the disk.
	DefaultSnapshotInterval = time.Hour
	// DefaultSnapshotKeep keeps the snapshots of a day.
	DefaultSnapshotKeep = 24
	// minSnapshotInterval is about as often as it is asked whether a snapshot is due.
	minSnapshotInterval = time.Minute
)

// SnapshotOptions are about the copies of the embedded store.
type SnapshotOptions struct {
	// Dir is the folder of the snapshots; empty for none. There is no default: the server cannot know a folder that is not
	// lost together with its data.
	Dir string
	// Interval is how often a snapshot is taken. At least a minute.
	Interval time.Duration
	// Keep is how many are kept. At least 1.
	Keep int
	// RestoreFrom is a snapshot, or a folder of them, that the store is made of if there is none yet.
	RestoreFrom string
}

func newSnapshotOptions() SnapshotOptions {
	return SnapshotOptions{Interval: DefaultSnapshotInterval, Keep: DefaultSnapshotKeep}
}

func (s *SnapshotOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.Dir, "snapshot-dir", s.Dir,
		"Folder for snapshots of the embedded etcd, on another volume than --data-dir: the two are not to be lost together. Only the owner can read what is in it. If empty, no snapshots are taken.")
	flags.DurationVar(&s.Interval, "snapshot-interval", s.Interval,
		"How old the newest snapshot has to be before another is taken. At least 1m.")
	flags.IntVar(&s.Keep, "snapshot-keep", s.Keep,
		"How many snapshots are kept. The oldest of more are deleted after each new one. At least 1.")
	flags.StringVar(&s.RestoreFrom, "restore-from", s.RestoreFrom,
		"Snapshot that the embedded etcd is made of before the start, or a folder, of whose snapshots the newest is taken. A data directory that this was done to already is left as it is, one that has other data is refused.")
}

func (s *SnapshotOptions) validate(o *Options) []error {
	var errs []error
	if !o.EmbedsEtcd() {
		if s.Dir != "" {
			errs = append(errs, errors.New("--snapshot-dir is for the embedded etcd, and --etcd-servers is given: back that etcd up with its own means, or with sluice-apiserver snapshot save --etcd-servers=..."))
		}
		if s.RestoreFrom != "" {
			errs = append(errs, errors.New("--restore-from is for the embedded etcd, and --etcd-servers is given: restore that etcd by its own means"))
		}
		return errs
	}
	if s.RestoreFrom != "" && o.Member.Name != "" {
		errs = append(errs, errors.New("--restore-from is for a server alone, and --member is given: each member would make a store of its own. Restore into the volume of one, start it alone, and let the others join; docs/operations.md has the steps"))
	}
	if s.Interval < minSnapshotInterval {
		errs = append(errs, fmt.Errorf("--snapshot-interval is %v: it must be at least %v", s.Interval, minSnapshotInterval))
	}
	if s.Keep < 1 {
		errs = append(errs, fmt.Errorf("--snapshot-keep is %d: it must be at least 1", s.Keep))
	}
	if s.Dir != "" && within(s.Dir, o.DataDir) {
		errs = append(errs, fmt.Errorf("--snapshot-dir %s is in --data-dir %s: snapshots are for when that is lost", s.Dir, o.DataDir))
	}
	return errs
}

// within tells whether a path is a folder or in it.
func within(path, folder string) bool {
	relative, err := filepath.Rel(folder, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// takeSnapshots takes snapshots from now on, until what it returns is called, which waits for the last.
func (o *Options) takeSnapshots(ctx context.Context, gate *ownerguard.Gate) (stop func(), err error) {
	if !o.embedded {
		return func() {}, nil
	}
	s := o.Snapshots
	if s.Dir == "" {
		klog.InfoS("No snapshots of the store are taken, since --snapshot-dir is empty: if the data directory is lost, so are all Rollouts", "dataDir", o.DataDir)
		return func() {}, nil
	}
	if same, err := snapshot.OnSameVolume(s.Dir, o.DataDir); err != nil {
		return nil, fmt.Errorf("--snapshot-dir: %w", err)
	} else if same {
		klog.InfoS("Snapshots are on the volume of the data, and would be lost together with it: give --snapshot-dir a volume of its own", "snapshotDir", s.Dir, "dataDir", o.DataDir)
	}
	etcd, err := o.localEtcd().ClientConfig()
	if err != nil {
		return nil, err
	}
	schedule := &snapshot.Schedule{
		Etcd: etcd, Dir: s.Dir, Interval: s.Interval, Keep: s.Keep, Clock: clock.RealClock{},
		Answering: func() bool { return gate.Check(nil) == nil },
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { schedule.Run(ctx) })
	return func() { cancel(); running.Wait() }, nil
}

// restoreIfAsked makes the store of a snapshot if the options say so and it is not there yet. A store without an object,
// as a server makes it that was started on an empty volume and then refused to answer, gives way.
func (o *Options) restoreIfAsked(ctx context.Context) error {
	if o.Snapshots.RestoreFrom == "" {
		return nil
	}
	dir := filepath.Join(o.DataDir, etcdFolder)
	if origin, err := snapshot.Origin(dir); err != nil {
		return fmt.Errorf("--restore-from: %w", err)
	} else if origin != nil {
		klog.InfoS("The data directory was made of a snapshot already, and --restore-from does nothing", "dataDir", o.DataDir, "snapshot", origin.Snapshot, "restored", origin.Time)
		return nil
	}
	path, err := snapshot.Find(o.Snapshots.RestoreFrom)
	if err != nil {
		return fmt.Errorf("--restore-from: %w", err)
	}
	if err := o.removeEmptyStore(ctx); err != nil {
		return fmt.Errorf("--restore-from: %w", err)
	}
	if err := restoreInto(path, o.DataDir, snapshot.Member{Name: etcdMember, PeerURL: etcdPeerURL}); err != nil {
		return fmt.Errorf("--restore-from: %w", err)
	}
	klog.InfoS("Made the store of a snapshot", "dataDir", o.DataDir, "snapshot", path)
	return nil
}

// restoreInto makes a data directory of a snapshot while nobody else has it.
func restoreInto(path, dataDir string, member snapshot.Member) error {
	if err := makePrivateDir(dataDir); err != nil {
		return err
	}
	lock, err := lockDir(dataDir)
	if err != nil {
		return err
	}
	defer lock.release()
	return snapshot.Restore(path, filepath.Join(dataDir, etcdFolder), member)
}

// removeEmptyStore removes the etcd of the data directory if nothing was ever stored in it.
func (o *Options) removeEmptyStore(ctx context.Context) error {
	dir := filepath.Join(o.DataDir, etcdFolder)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	etcd, err := StartEmbeddedEtcd(ctx, o.DataDir, o.EtcdQuotaBytes)
	if err != nil {
		return err
	}
	defer etcd.Close()
	keys, err := o.countKeys(ctx, etcd.Endpoints())
	if err != nil {
		return err
	}
	if keys > 0 {
		return fmt.Errorf("the data directory %s has a store with %d keys, which is not overwritten: start without --restore-from, or move %s away", o.DataDir, keys, dir)
	}
	etcd.Close()
	return os.RemoveAll(dir)
}
