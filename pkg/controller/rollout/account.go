// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// account is what one look at a Rollout has written, in words, in order.
type account struct {
	writes []string
	// toHost is when the first write to the host cluster was made; zero if there was none.
	toHost time.Time
}

// wroteToHost adds a write to the host cluster.
func (e *entry) wroteToHost(now time.Time, format string, args ...any) {
	if e.account.toHost.IsZero() {
		e.account.toHost = now
	}
	e.account.writes = append(e.account.writes, fmt.Sprintf(format, args...))
}

// wroteStatus adds the write of the status.
func (e *entry) wroteStatus() { e.account.writes = append(e.account.writes, "status") }

// timed decides, and measures how long that takes.
func (t *term) timed(s engine.Snapshot) engine.Decision {
	start := time.Now()
	defer func() { decisionDuration.Observe(time.Since(start).Seconds()) }()
	return t.decide(s)
}

// tell says in one line of the log what a decision changed, and why; nothing if it changed nothing. err is what kept
// it from changing more.
func tell(ctx context.Context, r *v1alpha1.Rollout, done account, err error) {
	if len(done.writes) == 0 {
		return
	}
	values := []any{"revision", r.Status.Revision, "wrote", done.writes, "phase", r.Status.Phase}
	if r.Status.CurrentStepIndex != nil {
		values = append(values, "step", ptr.Deref(r.Status.CurrentStepIndex, 0))
	}
	values = append(values, "why", why(r))
	if err != nil {
		values = append(values, "unfinished", err.Error())
	}
	klog.FromContext(ctx).Info("Decided", values...)
}

// why is the reason that the status gives.
func why(r *v1alpha1.Rollout) string {
	if r.Status.Message != "" {
		return r.Status.Message
	}
	for _, c := range r.Status.Conditions {
		if c.Type == v1alpha1.RolloutReady {
			return c.Message
		}
	}
	return ""
}
