// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// look is how often it is asked whether a snapshot is due, and how long one that failed waits.
	look = time.Minute
	// saveTimeout is how long one snapshot may take: a full database of 4 GiB at 5 MB a second.
	saveTimeout = 15 * time.Minute
	// roomFor is for how many more snapshots of the present size there has to be room, lest it be warned.
	roomFor = 2
)

// Schedule saves a snapshot now and then, and deletes those that are too many.
type Schedule struct {
	// Etcd leads to one endpoint of etcd.
	Etcd clientv3.Config
	// Dir is the folder; it is made if it does not exist. Nothing else in it is touched.
	Dir string
	// Interval is how old the newest snapshot has to be before another one is taken. Also a server that is started
	// often takes no more. More than 0.
	Interval time.Duration
	// Keep is how many snapshots are kept, the newest. At least 1.
	Keep int
	// Answering says whether the store may answer requests. One that was wiped, or is an older copy, must not push the
	// good snapshots out of the folder.
	Answering func() bool
	// Clock says when it is.
	Clock clock.WithTicker

	// taken is when this process took its last snapshot, warned what it has warned of.
	taken  time.Time
	warned string
}

// Run takes snapshots until ctx ends. What fails is logged and tried again a minute later.
func (s *Schedule) Run(ctx context.Context) {
	registerMetrics()
	ticker := s.Clock.NewTicker(look)
	defer ticker.Stop()
	for {
		if err := s.once(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Could not take a snapshot of the store", "folder", s.Dir, "again", look)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// once takes a snapshot if one is due.
func (s *Schedule) once(ctx context.Context) error {
	files, err := s.list()
	if err != nil {
		attempts.WithLabelValues("failure").Inc()
		return err
	}
	s.publish(files)
	if !s.due(files) || !s.Answering() {
		return nil
	}
	if err := s.take(ctx, s.name(files)); err != nil {
		attempts.WithLabelValues("failure").Inc()
		return err
	}
	attempts.WithLabelValues("success").Inc()
	return s.prune()
}

// list makes the folder, if there is none, and looks into it.
func (s *Schedule) list() ([]File, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the snapshots: %w", err)
	}
	return List(s.Dir)
}

// due is true if the newest snapshot is old enough. One from the future, as after the clock was set back, tells nothing:
// then it counts when this process took its last.
func (s *Schedule) due(files []File) bool {
	if len(files) == 0 {
		return true
	}
	since := s.Clock.Since(files[len(files)-1].Taken)
	if since < 0 {
		return s.taken.IsZero() || s.Clock.Since(s.taken) >= s.Interval
	}
	return since >= s.Interval
}

// name is that of the next snapshot. It sorts after all others, whatever the clock says.
func (s *Schedule) name(files []File) string {
	at := s.Clock.Now()
	if len(files) > 0 {
		if after := files[len(files)-1].Taken.Add(time.Second); at.Before(after) {
			at = after
		}
	}
	return FileName(at)
}

func (s *Schedule) take(ctx context.Context, name string) error {
	if err := removeUnfinished(s.Dir); err != nil {
		return fmt.Errorf("removing unfinished snapshots: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, saveTimeout, fmt.Errorf("it took longer than %s", saveTimeout))
	defer cancel()
	began := s.Clock.Now()
	path := filepath.Join(s.Dir, name)
	if err := Save(ctx, s.Etcd, path); err != nil {
		return err
	}
	s.taken = began
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	klog.InfoS("Took a snapshot of the store", "file", path, "bytes", info.Size(), "took", s.Clock.Since(began))
	return nil
}

// prune deletes the oldest of too many snapshots. Only complete ones are counted, so that the last good one never goes.
func (s *Schedule) prune() error {
	files, err := List(s.Dir)
	if err != nil {
		return err
	}
	for ; len(files) > s.Keep; files = files[1:] {
		if err := os.Remove(files[0].Path); err != nil {
			return fmt.Errorf("deleting an old snapshot: %w", err)
		}
	}
	s.publish(files)
	return nil
}

// publish sets the metrics, and warns of a volume that is running full, once.
func (s *Schedule) publish(files []File) {
	kept.Set(float64(len(files)))
	var newest int64
	if len(files) == 0 {
		lastSuccess.Set(0)
		age.Set(-1)
	} else {
		last := files[len(files)-1]
		newest = last.Size
		lastSuccess.Set(float64(last.Taken.Unix()))
		age.Set(s.Clock.Since(last.Taken).Seconds())
		size.Set(float64(last.Size))
	}
	available, err := freeBytes(s.Dir)
	if err != nil {
		s.warn(fmt.Sprintf("it is not known how much is free: %v", err), newest, available)
		return
	}
	free.Set(float64(available))
	if available < roomFor*uint64(newest) {
		s.warn("the volume is nearly full", newest, available)
		return
	}
	s.warned = ""
}

func (s *Schedule) warn(what string, newest int64, available uint64) {
	if s.warned == what {
		return
	}
	s.warned = what
	klog.Warningf("Snapshots in %s may fail soon: %s; bytes free: %d, bytes of the newest snapshot: %d. Give it a larger volume, or a smaller --snapshot-keep", s.Dir, what, available, newest)
}
