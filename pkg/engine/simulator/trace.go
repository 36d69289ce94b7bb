// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"strings"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// trace is what happened, for people.
type trace struct {
	lines []string
	// off is true if nobody will read it.
	off bool
}

// tell adds a line, with the seconds since the beginning.
func (c *Cluster) tell(format string, args ...any) {
	if c.trace.off {
		return
	}
	at := c.now.Sub(c.Rollout.CreationTimestamp.Time).Seconds()
	c.trace.lines = append(c.trace.lines, fmt.Sprintf("%9.3fs  ", at)+fmt.Sprintf(format, args...))
}

// Trace is everything that happened so far, a line each.
func (c *Cluster) Trace() string {
	return strings.Join(c.trace.lines, "\n")
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
