// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Edit changes the spec as the server stores such a change: a new template is resolved in the same write.
func (c *Cluster) Edit(what string, change func(spec *rollouts.RolloutSpec)) {
	edited := c.Rollout.DeepCopy()
	change(&edited.Spec)
	if apiequality.Semantic.DeepEqual(edited.Spec, c.Rollout.Spec) {
		return
	}
	var res *engine.Resolution
	if !apiequality.Semantic.DeepEqual(edited.Spec.Template, c.Rollout.Spec.Template) {
		found := engine.Resolve(c.Rollout, &edited.Spec.Template, c.sets)
		res = &found
	}
	edited.Generation++
	c.store(engine.Edited(c.Rollout, edited, res))
	c.tell("edit %s: %s", what, describe(c.Rollout))
}

// Promote asks for a promote. The error is an *engine.Refusal.
func (c *Cluster) Promote(full bool) error {
	return c.verb("promote", func() (*rollouts.Rollout, error) { return engine.Promote(c.Rollout, full, c.now) })
}

// Abort asks for an abort. The error is an *engine.Refusal.
func (c *Cluster) Abort() error {
	return c.verb("abort", func() (*rollouts.Rollout, error) { return engine.Abort(c.Rollout, c.now) })
}

// Retry asks for a retry. The error is an *engine.Refusal.
func (c *Cluster) Retry() error {
	return c.verb("retry", func() (*rollouts.Rollout, error) { return engine.Retry(c.Rollout, c.now) })
}

func (c *Cluster) verb(name string, act func() (*rollouts.Rollout, error)) error {
	out, err := act()
	if err != nil {
		c.tell("%s refused: %v", name, err)
		return err
	}
	c.store(out)
	c.tell("%s: %s", name, describe(out))
	return nil
}

// Settle lets everybody work until nothing moves any more, the clock jumping to whatever is due next, and
// is true if that came about within the given number of rounds.
func (c *Cluster) Settle(rounds int) bool {
	for range rounds {
		before := c.version
		d := c.Reconcile()
		c.SyncAll()
		if c.version != before {
			continue
		}
		wait, due := c.nextPodChange()
		if d.RequeueAfter > 0 && (!due || d.RequeueAfter < wait) {
			wait, due = d.RequeueAfter, true
		}
		if !due {
			return true
		}
		c.Sleep(wait)
		c.SyncAll()
	}
	return false
}

// nextPodChange is when the next pod becomes ready or available by itself; false if none will.
func (c *Cluster) nextPodChange() (wait time.Duration, due bool) {
	for _, rs := range c.sets {
		delay, starts := c.Pods(&rs.Spec.Template)
		for _, p := range c.pods[rs.UID] {
			at := p.Since.Add(time.Duration(rs.Spec.MinReadySeconds) * time.Second)
			if !p.Ready {
				at = p.Since.Add(delay)
			}
			if left := at.Sub(c.now); (p.Ready || starts) && left > 0 && (!due || left < wait) {
				wait, due = left, true
			}
		}
	}
	return wait, due
}
