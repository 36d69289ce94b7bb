// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package planner says what will happen to a Rollout: it runs the engine itself on a simulated cluster, with a
// simulated clock, pods that become available, and people who promote.
//
// It may import the engine, its simulator, the hub types, the API types of Kubernetes and apimachinery.
package planner

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// mostTurns bounds a plan: no Rollout of a size that a cluster can hold takes as many.
const mostTurns = 200_000

// everybody is whoever is needed to go on.
var everybody = engine.Actor{Name: "sluice:planner", Rights: []engine.Right{engine.RightOverride}}

// Plan says what will happen to the Rollout of a snapshot, from its state on, if its pods become available and
// people promote where they are asked to. Nothing in s is modified. The error is that of ctx, or says that the
// plan is too long.
func Plan(ctx context.Context, s engine.Snapshot) (*rollouts.RolloutPlanStatus, error) {
	p := newPlan(s)
	if p.nothing() {
		return p.status, nil
	}
	p.look()
	for range mostTurns {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		turned := p.cluster.Turn()
		p.look()
		if !turned && !p.promote() {
			p.end()
			return p.status, nil
		}
	}
	return nil, fmt.Errorf("the plan does not end within %d turns of the controller", mostTurns)
}

// plan is one plan in the making.
type plan struct {
	cluster *simulator.Cluster
	began   engine.Snapshot
	status  *rollouts.RolloutPlanStatus
	// resumed is true if the Rollout is paused by hand, and the plan begins with its end.
	resumed bool
	// step is what is going on; nil if nothing does.
	step *rollouts.PlannedStep
	// completes is true once all steps are behind: what follows is one step to the end.
	completes bool
	// crowd is how many pods there may have been at one time since the last look.
	crowd int32
}

func newPlan(s engine.Snapshot) *plan {
	p := &plan{began: s, status: &rollouts.RolloutPlanStatus{Revision: s.Rollout.Status.Revision}, resumed: s.Rollout.Spec.Paused}
	if p.resumed {
		s.Rollout = s.Rollout.DeepCopy()
		s.Rollout.Spec.Paused = false
	}
	p.cluster = simulator.From(s)
	p.cluster.Pods = func(*corev1.PodTemplateSpec) (time.Duration, bool) { return time.Second, true }
	p.cluster.OnWrite = func(*appsv1.ReplicaSet, *appsv1.ReplicaSet) { p.crowd = max(p.crowd, p.most()) }
	return p
}

// nothing is true if nothing will happen, whatever anybody does.
func (p *plan) nothing() bool {
	r := p.began.Rollout
	p.status.Phase = r.Status.Phase
	switch {
	case r.DeletionTimestamp != nil:
		p.status.Message = "nothing to do: the rollout is being deleted"
	case slices.ContainsFunc(r.Status.Conditions, func(c rollouts.RolloutCondition) bool { return c.Type == rollouts.RolloutHeld }):
		p.status.Message = "nothing is done: the rollout is held, since its stored copy is too old"
	default:
		return false
	}
	return true
}

// promote ends a pause that waits for people, as they would; false if there is none.
func (p *plan) promote() bool {
	r := p.cluster.Rollout
	if len(r.Status.PauseConditions) == 0 {
		return false
	}
	asks := p.step != nil && p.step.Approval != nil
	if err := p.cluster.PromoteAs(everybody, engine.PromoteOptions{Override: asks}); err != nil {
		return false
	}
	p.look()
	return true
}

// look takes in what has come about since the last look.
func (p *plan) look() {
	now := p.stepNow()
	if now == nil {
		p.count()
		return
	}
	if p.step == nil || !same(p.step, now) {
		p.close()
		p.step = now
	}
	p.count()
}

// count keeps the numbers of the step that goes on.
func (p *plan) count() {
	canary, others := p.pods()
	peak := max(p.crowd, canary+others)
	p.crowd = 0
	p.status.PeakReplicas = max(p.status.PeakReplicas, peak)
	if p.step == nil {
		return
	}
	p.step.Weight = engine.SetWeight(p.cluster.Rollout)
	p.step.CanaryReplicas, p.step.StableReplicas = canary, others
	p.step.PeakReplicas = max(p.step.PeakReplicas, peak)
}

// most is how many pods there may be for a moment: when one ReplicaSet grows and another shrinks in the same move,
// nobody knows which of them the host looks at first.
func (p *plan) most() (pods int32) {
	for _, rs := range p.owned() {
		n := int32(len(p.cluster.PodsOf(rs)))
		if rs.DeletionTimestamp == nil {
			n = max(n, ptr.Deref(rs.Spec.Replicas, 1))
		}
		pods += n
	}
	return pods
}

// close ends the step that goes on.
func (p *plan) close() {
	if p.step != nil {
		p.status.Steps = append(p.status.Steps, *p.step)
		p.step = nil
	}
}

// pods counts those of the revision that is rolled out, and all others.
func (p *plan) pods() (canary, others int32) {
	for _, rs := range p.owned() {
		n := int32(len(p.cluster.PodsOf(rs)))
		if rs.Labels[rollouts.PodTemplateHashLabel] == p.cluster.Rollout.Status.CurrentPodHash {
			canary += n
		} else {
			others += n
		}
	}
	return canary, others
}

// owned are the ReplicaSets that the Rollout controls.
func (p *plan) owned() []*appsv1.ReplicaSet {
	return slices.DeleteFunc(p.cluster.ReplicaSets(), func(rs *appsv1.ReplicaSet) bool {
		owner := metav1.GetControllerOfNoCopy(rs)
		return owner == nil || owner.UID != p.cluster.Rollout.UID
	})
}

func same(a, b *rollouts.PlannedStep) bool {
	return a.Action == b.Action && ptr.Equal(a.Index, b.Index)
}
