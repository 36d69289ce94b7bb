// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"time"
)

// Pace is how often to paint.
type Pace struct {
	// Least is the shortest time between two paintings.
	Least time.Duration
	// Beat is the longest; 0 if only changes are painted.
	Beat time.Duration
}

// Run paints at once, and then after every change, until paint says that it is done or fails. When the
// context ends first it returns the error of that.
func Run(ctx context.Context, pace Pace, changed <-chan struct{}, paint func() (done bool, err error)) error {
	var beat <-chan time.Time
	if pace.Beat > 0 {
		ticker := time.NewTicker(pace.Beat)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		if done, err := paint(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-beat:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pace.Least):
		}
	}
}
