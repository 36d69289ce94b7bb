// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// trace is what happened, for people. Its text is made when it is asked for: of a hundred thousand simulated
// clusters nobody reads more than one.
type trace struct {
	lines []line
	// off is true if nobody will read it.
	off bool
}

// line is one thing that happened. What args point to is never modified afterwards.
type line struct {
	at     time.Duration
	format string
	args   []any
}

// tell adds a line. A Rollout among args is told as its state in a line.
func (c *Cluster) tell(format string, args ...any) {
	if !c.trace.off {
		c.trace.lines = append(c.trace.lines, line{c.now.Sub(c.Rollout.CreationTimestamp.Time), format, args})
	}
}

// Tell adds to the trace what is done to the cluster from outside.
func (c *Cluster) Tell(what string) { c.tell("%s", what) }

// Trace is everything that happened so far, a line each, with the seconds since the beginning.
func (c *Cluster) Trace() string {
	var text strings.Builder
	for i, l := range c.trace.lines {
		if i > 0 {
			text.WriteByte('\n')
		}
		args := slices.Clone(l.args)
		for j, arg := range args {
			if r, is := arg.(*rollouts.Rollout); is {
				args[j] = describe(r)
			}
		}
		fmt.Fprintf(&text, "%9.3fs  ", l.at.Seconds())
		fmt.Fprintf(&text, l.format, args...)
	}
	return text.String()
}

// describe is the state of a Rollout in a line.
func describe(r *rollouts.Rollout) string {
	st := &r.Status
	step := "-"
	if st.CurrentStepIndex != nil {
		step = fmt.Sprint(*st.CurrentStepIndex)
	}
	return fmt.Sprintf("%s %q step=%s current=%s stable=%s abort=%t full=%t pods=%d/%d/%d of %d generation=%d/%d",
		st.Phase, st.Message, step, st.CurrentPodHash, st.StableRS, st.Abort, st.PromoteFull,
		st.UpdatedReplicas, st.Replicas, st.AvailableReplicas, replicas(r), st.ObservedGeneration, r.Generation)
}
