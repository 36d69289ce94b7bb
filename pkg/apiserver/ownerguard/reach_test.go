// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStoreThatDoesNotAnswerIsNoticedAndOneThatAnswersAgainIsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var broken atomic.Bool
		var lost atomic.Int64
		var r reach
		go r.watch(ctx, func(ctx context.Context) error {
			if broken.Load() {
				// As etcd does without a leader.
				<-ctx.Done()
				return errors.New("no leader")
			}
			return nil
		}, func(message string) {
			if !strings.Contains(message, "no leader") {
				t.Errorf("the message lacks the cause: %s", message)
			}
			lost.Add(1)
		})
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		pass(time.Minute)
		if lost.Load() != 0 {
			t.Error("a store that answers is taken for lost")
		}
		broken.Store(true)
		pass(lostAfter - probeTimeout)
		if lost.Load() != 0 {
			t.Error("an election is taken for a loss")
		}
		pass(2*probeTimeout + probeInterval)
		if lost.Load() == 0 {
			t.Error("the loss is not noticed")
		}
		broken.Store(false)
		start := time.Now()
		r.wait(ctx)
		if took := time.Since(start); took > probeTimeout+2*probeInterval {
			t.Errorf("it took %v to notice that the store answers again", took)
		}
		cancel()
		synctest.Wait()
	})
}
