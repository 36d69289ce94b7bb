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
	if edited.Spec.WorkloadRef == nil && !apiequality.Semantic.DeepEqual(edited.Spec.Template, c.Rollout.Spec.Template) {
		found := engine.Resolve(c.Rollout, &edited.Spec.Template, c.sets)
		res = &found
	}
	edited.Generation++
	c.store(engine.Edited(c.Rollout, edited, res, c.author))
	c.tell("edit %s: %s", what, c.Rollout)
}

// defaultAuthor is who edits, unless the caller says who.
const defaultAuthor = "author"

// Promote asks for a promote, by somebody who may override. The error is an *engine.Refusal.
func (c *Cluster) Promote(full bool) error {
	who := engine.Actor{Name: "promoter", Rights: []engine.Right{engine.RightOverride}}
	return c.verb("promote", func() (*engine.Transition, error) {
		return engine.Promote(c.Rollout, engine.PromoteOptions{Full: full}, who, c.now)
	})
}

// PromoteAs asks for a promote in the name of somebody. The error is an *engine.Refusal or an *engine.Forbidden.
func (c *Cluster) PromoteAs(who engine.Actor, o engine.PromoteOptions) error {
	return c.verb("promote by "+who.Name, func() (*engine.Transition, error) { return engine.Promote(c.Rollout, o, who, c.now) })
}

// EditAs is Edit in the name of somebody.
func (c *Cluster) EditAs(who, what string, change func(spec *rollouts.RolloutSpec)) {
	defer func(before string) { c.author = before }(c.author)
	c.author = who
	c.Edit(what, change)
}

// Pause asks for a pause. The error is an *engine.Refusal.
func (c *Cluster) Pause() error {
	return c.specVerb("pause", func() (*engine.Transition, error) { return engine.Pause(c.Rollout, c.now) })
}

// Resume asks for the end of a pause. The error is an *engine.Refusal.
func (c *Cluster) Resume() error {
	return c.specVerb("resume", func() (*engine.Transition, error) { return engine.Resume(c.Rollout, c.now) })
}

// Restart asks for a restart now. The error is an *engine.Refusal.
func (c *Cluster) Restart() error {
	return c.specVerb("restart", func() (*engine.Transition, error) { return engine.Restart(c.Rollout, nil, c.now) })
}

// Undo asks for an earlier revision. The error is an *engine.Refusal.
func (c *Cluster) Undo(toRevision int64) error { return c.UndoAs(c.author, toRevision) }

// UndoAs is Undo in the name of somebody.
func (c *Cluster) UndoAs(who string, toRevision int64) error {
	return c.specVerb("undo", func() (*engine.Transition, error) {
		return engine.Undo(c.Rollout, c.sets, toRevision, engine.Actor{Name: who}, c.now)
	})
}

// specVerb is a verb that changes the spec, which the server counts.
func (c *Cluster) specVerb(name string, act func() (*engine.Transition, error)) error {
	return c.verb(name, func() (*engine.Transition, error) {
		t, err := act()
		if err == nil {
			t.Rollout.Generation++
		}
		return t, err
	})
}

// Abort asks for an abort. The error is an *engine.Refusal.
func (c *Cluster) Abort() error {
	return c.verb("abort", func() (*engine.Transition, error) { return engine.Abort(c.Rollout, c.now) })
}

// Retry asks for a retry. The error is an *engine.Refusal.
func (c *Cluster) Retry() error {
	return c.verb("retry", func() (*engine.Transition, error) { return engine.Retry(c.Rollout, c.now) })
}

func (c *Cluster) verb(name string, act func() (*engine.Transition, error)) error {
	t, err := act()
	if err != nil {
		c.tell("%s refused: %v", name, err)
		return err
	}
	c.store(t.Rollout)
	c.tell("%s: %s", name, c.Rollout)
	return nil
}

// Settle lets everybody work until nothing moves any more, the clock jumping to whatever is due next, and
// is true if that came about within the given number of rounds.
func (c *Cluster) Settle(rounds int) bool {
	for range rounds {
		if !c.Turn() {
			return true
		}
	}
	return false
}

// Turn lets everybody work once; if that changes nothing, the clock jumps to whatever is due next. It is false if
// nothing ever is.
func (c *Cluster) Turn() bool {
	before, written := c.version, c.Written
	d := c.Reconcile()
	c.SyncAll()
	// A pod that was evicted may be replaced by one that looks the same to whoever counts.
	if c.version != before || c.Written != written {
		return true
	}
	wait, due := c.nextPodChange()
	if d.RequeueAfter > 0 && (!due || d.RequeueAfter < wait) {
		wait, due = d.RequeueAfter, true
	}
	if !due {
		return false
	}
	c.Sleep(wait)
	c.SyncAll()
	return true
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
