// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.8 and 2.1, and architecture ("the fewest writes").

// countsInterval is how often counts alone are written while pods are being moved: what a step or a phase
// depends on is written at once, and the counts along with it.
const countsInterval = time.Second

// count sets the numbers of pods.
func (d *decider) count() {
	st := &d.rollout.Status
	st.Replicas, st.UpdatedReplicas, st.ReadyReplicas, st.AvailableReplicas = 0, 0, 0, 0
	for _, rss := range [][]*appsv1.ReplicaSet{d.owned(), d.leaving} {
		for _, rs := range rss {
			st.Replicas += rs.Status.Replicas
			st.ReadyReplicas += rs.Status.ReadyReplicas
			st.AvailableReplicas += rs.Status.AvailableReplicas
		}
	}
	if d.current != nil {
		st.UpdatedReplicas = d.current.Status.Replicas
	}
	st.HPAReplicas = st.Replicas
	if blueGreen(d.rollout) != nil {
		d.countServing()
	}
}

// countServing takes out of the counts what serves no clients: autoscalers and people ask for what does.
func (d *decider) countServing() {
	st := &d.rollout.Status
	var serving appsv1.ReplicaSetStatus
	if rs := d.serving(); rs != nil {
		serving = rs.Status
	}
	st.HPAReplicas, st.ReadyReplicas, st.AvailableReplicas = serving.Replicas, serving.ReadyReplicas, serving.AvailableReplicas
}

// describe fills in what the status says of the decision: nothing of it decides anything more.
func (d *decider) describe() {
	r, st := d.rollout, &d.rollout.Status
	st.ObservedGeneration = r.Generation
	st.Selector = selectorString(r)
	st.CurrentStepHash = stepHash(steps(r))
	setWeights(r)
	d.setProgressing()
	d.setObserved()
	d.judgeServices()
	setPhase(r)
	if st.Phase == rollouts.RolloutPhaseHealthy && d.mayBeUnavailable() {
		st.Phase, st.Message = rollouts.RolloutPhaseProgressing, messageNotAvailable
	}
	setStanding(st, d.now)
}

// mayBeUnavailable is true from a change of spec.minReadySeconds until the ReplicaSet says which of its pods
// are available by that. What waits for Ready must not be told so by the old one.
func (d *decider) mayBeUnavailable() bool {
	p := d.poolNow(d.current)
	return p.outdated || !p.observed && d.stored.Phase != rollouts.RolloutPhaseHealthy
}

// setWeights sets the shares wanted now. With no update in flight the stable revision has all of it.
func setWeights(r *rollouts.Rollout) {
	st := &r.Status
	if blueGreen(r) != nil {
		st.Canary = nil // Clients are led to one revision or the other.
		return
	}
	weight := SetWeight(r)
	if st.StableRS != "" && !updateInFlight(r) {
		weight = 0
	}
	st.Canary = &rollouts.CanaryStatus{Weights: &rollouts.CanaryWeights{
		Canary: rollouts.WeightDestination{Weight: weight, PodTemplateHash: st.CurrentPodHash},
		Stable: rollouts.WeightDestination{Weight: fullWeight - weight, PodTemplateHash: st.StableRS},
	}}
}

// statusToWrite is the status, or nil if the stored one says the same, or says the same but for counts
// and said so only just now.
func (d *decider) statusToWrite() *rollouts.RolloutStatus {
	st := &d.rollout.Status
	if apiequality.Semantic.DeepEqual(d.stored, st) {
		return nil
	}
	if wait := d.countsMayWait(); wait > 0 {
		d.requeueIn(wait)
		return nil
	}
	return st
}

// countsMayWait is how long the status need not be written, since only counts changed and pods are being
// moved; 0 if it must be.
func (d *decider) countsMayWait() time.Duration {
	st := &d.rollout.Status
	was := findCondition(d.stored, rollouts.RolloutProgressing)
	if was == nil || st.Phase != rollouts.RolloutPhaseProgressing || !apiequality.Semantic.DeepEqual(essence(d.stored), essence(st)) {
		return 0
	}
	age := d.now.Sub(was.LastUpdateTime.Time)
	if age < -countsInterval {
		return 0 // The clock was turned back: do not wait for it.
	}
	return countsInterval - age
}

// essence is a status without its counts and what only follows from them.
func essence(st *rollouts.RolloutStatus) *rollouts.RolloutStatus {
	e := *st
	e.Message = ""
	e.Replicas, e.UpdatedReplicas, e.ReadyReplicas, e.AvailableReplicas, e.HPAReplicas = 0, 0, 0, 0, 0
	e.Conditions = nil
	for _, c := range st.Conditions {
		if c.Type != rollouts.RolloutAvailable {
			e.Conditions = append(e.Conditions, rollouts.RolloutCondition{Type: c.Type, Status: c.Status})
		}
	}
	return &e
}
