// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// A journey is one random life of a Rollout, from its creation until nothing moves any more, held against all
// nine invariants of the design at every single step:
//
//  1. bounds of the pods: at every write to a ReplicaSet and at every eviction (checkBounds, checkEviction), and
//     that no Service is left with a revision without pods, at every write to either (guardServices);
//     not while a decision is written that was made on what is no more: see watch.
//  2. one step at a time, when its condition holds: at every decision (checkDecidedStep).
//  3. a promote moves one step: at every verb (checkVerb), by whoever asks (promoteAs), and two at once
//     (promoteTwice).
//  4. an abort ends at stable: at the end (endByAbort).
//  5. going back is a rollback: at the end (endByRollback).
//  6. others are left alone: at every write to a ReplicaSet or Service (checkOwner, checkManager).
//  7. the same decision on the same: at every decision (checkDeterminism); and none more after it was written:
//     at every reconcile (checkIdempotence).
//  8. nothing is written in a steady state: at the end (checkSteady).
//  9. it ends: at the end (settle, checkEnd).
//
// A Rollout with blueGreen is held against what the same invariants mean for it: see watchBlueGreen.
//
// Besides, what is stored always makes sense: after every action (checkStored); and a canary's Services and the
// metadata of its pods are what they should be: after every reconcile (checkServices), and at the end (checkMetadata).

// shortJourney and longJourney are the fewest actions of a journey. As many again are done on average.
const (
	shortJourney = 10
	longJourney  = 20
)

// tally counts what journeys were made of.
type tally struct {
	journeys, actions, decisions, writes int64
}

func (c *tally) add(other tally) {
	c.journeys += other.journeys
	c.actions += other.actions
	c.decisions += other.decisions
	c.writes += other.writes
}

// journey runs one, with an engine that decides; counted gets what it was made of.
func journey(t *rapid.T, brain func(engine.Snapshot) engine.Decision, counted *tally) {
	var m *machine
	blueGreen := rapid.Bool().Draw(t, "blueGreen")
	if blueGreen {
		m = prepareBlueGreen(t)
	} else {
		m = prepareCanary(t)
	}
	made := tally{journeys: 1}
	m.brain = func(s engine.Snapshot) engine.Decision {
		made.decisions++
		return brain(s)
	}
	m.watchStrategy()
	m.begin()
	m.switching = rapid.IntRange(0, 3).Draw(t, "may change its strategy") == 3
	made.actions = int64(m.travel(t))
	if m.Rollout.Spec.Strategy.BlueGreen != nil {
		m.arriveBlueGreen(t)
	} else {
		m.arrive(t)
	}
	w := m.Written
	made.writes = int64(w.ReplicaSets + w.Status + w.Evictions + w.Pods + w.Services)
	counted.add(made)
}

// watchStrategy holds whatever happens from now on against the invariants of the strategy that the Rollout has.
func (m *machine) watchStrategy() {
	m.reconciled = nil
	if m.Rollout.Spec.Strategy.BlueGreen != nil {
		m.watchBlueGreen()
	} else {
		m.watch()
	}
}

// otherStrategy gives the Rollout the other strategy, wherever it stands.
func (m *machine) otherStrategy(t *rapid.T) {
	if !m.switching {
		return
	}
	if m.Rollout.Spec.Strategy.BlueGreen == nil {
		b := anyBlueGreen.Draw(t, "strategy")
		m.healServices()
		m.Edit("blueGreen", func(spec *rollouts.RolloutSpec) {
			spec.Strategy = rollouts.RolloutStrategy{BlueGreen: b}
			spec.RollbackWindow = nil // As the checks of promotions reckon with.
		})
		m.edits, m.more = m.editBlueGreen, map[string]func(*rapid.T){"service": m.meddleWithServices}
	} else {
		c := anyRollout(t).Spec.Strategy
		m.Edit("canary", func(spec *rollouts.RolloutSpec) { spec.Strategy = c })
		m.edits = m.edit
	}
	m.watchStrategy()
}

// watch holds whatever happens from now on against the invariants of a canary.
func (m *machine) watch() {
	guardServices(m.Cluster, m.fail)
	guardLead, guardWrite := m.OnLead, m.OnWrite
	m.OnWrite = func(before, after *appsv1.ReplicaSet) {
		m.checkOwner(before, after)
		// Each write of an old decision fails if its object has changed since; that another has is what no
		// controller can know. What it does to the pods is put right by the next decision.
		if !m.stale && !m.unserved(before, after) {
			guardWrite(before, after)
		}
	}
	m.OnLead = func(before, after *corev1.Service) {
		m.checkManager(before, after)
		if !m.stale {
			guardLead(before, after)
		}
	}
	m.OnEvict = func(rs *appsv1.ReplicaSet, pod *simulator.Pod) {
		if !m.stale {
			m.checkEviction(rs, pod)
		}
	}
	m.decided = func(s engine.Snapshot, d engine.Decision) {
		m.checkDecidedStep(s, d)
		m.checkDeterminism(s, d)
	}
	m.reconciled = func(s engine.Snapshot, d engine.Decision) {
		m.checkIdempotence(s, d)
		// A restart takes pods one by one; what that leaves shows at the next decision. To adopt is one of its own.
		if len(d.Evict) == 0 && len(d.Adopt) == 0 {
			m.checkServices()
		}
	}
	m.asked = m.checkVerb
}

// unserved is true if a ReplicaSet is cut from whose pods a Service of the strategy before keeps clients.
func (m *machine) unserved(before, after *appsv1.ReplicaSet) bool {
	if before == nil || after == nil || *after.Spec.Replicas >= *before.Spec.Replicas {
		return false
	}
	named := engine.ServicesNamed(m.Rollout)
	return slices.ContainsFunc(m.Snapshot().Services, func(s *corev1.Service) bool {
		hash := s.Spec.Selector[rollouts.PodTemplateHashLabel]
		return s.Annotations[rollouts.ManagedByRolloutAnnotation] == m.Rollout.Name && !slices.Contains(named, s.Name) && hash != "" && hash != after.Labels[rollouts.PodTemplateHashLabel]
	})
}

// checkIdempotence: on the world that its decision produced Decide decides nothing more, unless it took a step,
// adopted, evicted or led a Service, after which there may be more to do.
func (m *machine) checkIdempotence(s engine.Snapshot, d engine.Decision) {
	stepped := d.Status != nil && !ptr.Equal(d.Status.CurrentStepIndex, s.Rollout.Status.CurrentStepIndex)
	adopting := slices.ContainsFunc(s.ReplicaSets, isOrphan)
	// A Service of the strategy before is given back once the pods that it keeps clients from are seen to go.
	releasing := len(d.Scale) > 0 && m.switching
	if stepped || adopting || releasing || len(d.Evict) > 0 || len(d.Services) > 0 {
		return
	}
	if d := m.brain(m.Snapshot()); writes(d) {
		m.fail("decided more on the world that its decision produced: %+v", d)
	}
}

// checkStored: the status never contradicts itself or the spec.
func (m *machine) checkStored() {
	r, st := m.Rollout, &m.Rollout.Status
	steps := int32(0)
	if c := r.Spec.Strategy.Canary; c != nil {
		steps = int32(len(c.Steps))
	}
	switch index := ptr.Deref(st.CurrentStepIndex, 0); {
	case index < 0 || index > steps:
		m.fail("step %d of %d", index, steps)
	case st.Abort && st.PromoteFull:
		m.fail("aborted, and promoted in full")
	case st.Abort != (st.AbortedAt != nil):
		m.fail("abort=%t, abortedAt=%v", st.Abort, st.AbortedAt)
	case st.Abort && len(st.PauseConditions) > 0:
		m.fail("aborted, and waits in a pause")
	case st.ObservedGeneration > r.Generation:
		m.fail("observed generation %d of %d", st.ObservedGeneration, r.Generation)
	}
}

// nothing is the first action in order of names: what others are shrunk to that need not be done.
const nothing = "(nothing)"

// travel does things at random, and returns how many.
func (m *machine) travel(t *rapid.T) (done int) {
	actions := m.actions(true)
	maps.Copy(actions, m.moreActions())
	names := slices.Sorted(maps.Keys(actions))
	one := rapid.Custom(func(t *rapid.T) string {
		name := rapid.SampledFrom(names).Draw(t, "action")
		if name != nothing {
			m.Tell("- " + name)
		}
		actions[name](t)
		m.checkStored()
		done++
		return name
	})
	least := rapid.SampledFrom([]int{shortJourney, longJourney}).Draw(t, "at least")
	rapid.SliceOfN(one, least, -1).Draw(t, "journey")
	return done
}

// moreActions are those that only journeys do.
func (m *machine) moreActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		nothing:     func(*rapid.T) {},
		"pause":     func(*rapid.T) { m.specVerb("pause", m.Pause) },
		"resume":    func(*rapid.T) { m.specVerb("resume", m.Resume) },
		"approve":   m.approve,
		"autoscale": m.autoscale,
		"strategy":  m.otherStrategy,
		"away":      m.away,
		"budget":    func(t *rapid.T) { m.MinAvailable = rapid.SampledFrom([]int{0, 0, 1, 3, 12}).Draw(t, "minAvailable") },
		"settle":    m.rest,
		"other author": func(t *rapid.T) {
			m.EditAs(anyPerson.Draw(t, "author"), "image", image(anyImage.Draw(t, "image")))
		},
	}
}

var anyPerson = rapid.SampledFrom([]string{"ann", "bob", "author"})

// specVerb is a verb that changes spec.paused, and must leave where the update is alone.
func (m *machine) specVerb(name string, verb func() error) {
	before := m.Rollout
	if verb() == nil && !engine.SameState(before, withGeneration(m.Rollout, before.Generation)) {
		m.fail("%s moved the update", name)
	}
}

func withGeneration(r *rollouts.Rollout, generation int64) *rollouts.Rollout {
	out := *r
	out.Generation = generation
	return &out
}

// approve is a promote by one of several people, who may override or not.
func (m *machine) approve(t *rapid.T) {
	who := engine.Actor{Name: anyPerson.Draw(t, "who")}
	override := rapid.IntRange(0, 4).Draw(t, "override") == 4
	if override {
		who.Rights = []engine.Right{engine.RightOverride}
	}
	before := m.Rollout
	if m.PromoteAs(who, engine.PromoteOptions{Override: override}) != nil || before.Spec.Strategy.Canary == nil {
		return
	}
	from, to := ptr.Deref(before.Status.CurrentStepIndex, 0), ptr.Deref(m.Rollout.Status.CurrentStepIndex, 0)
	var asked *rollouts.PauseApproval
	if p := before.Spec.Strategy.Canary.Steps[from].Pause; p != nil {
		asked = p.Approval
	}
	switch {
	case to != from && to != from+1:
		m.fail("a promote by %s moved from step %d to %d", who.Name, from, to)
	case asked == nil && to != from+1:
		m.fail("a promote by %s moved nothing", who.Name)
	case asked == nil || override:
	case slices.Contains(before.Status.TemplateAuthors, who.Name):
		m.fail("%s approved their own change", who.Name)
	case to == from+1 && m.approvers(before, who.Name) < int(*asked.Required):
		m.fail("step %d took %d approvals, and went on after fewer", from, *asked.Required)
	}
}

// approvers counts the people who approve the current step, with one more.
func (m *machine) approvers(r *rollouts.Rollout, one string) int {
	people := map[string]bool{one: true}
	for _, a := range r.Status.Approvals {
		bound := a.Revision == r.Status.Revision && a.StepIndex == *r.Status.CurrentStepIndex && a.StepHash == r.Status.CurrentStepHash
		if bound && !slices.Contains(r.Status.TemplateAuthors, a.User) {
			people[a.User] = true
		}
	}
	return len(people)
}

// autoscale changes spec.replicas as a HorizontalPodAutoscaler does: a few pods at a time, by what it reads.
func (m *machine) autoscale(t *rapid.T) {
	n := m.Rollout.Status.HPAReplicas + rapid.Int32Range(-3, 3).Draw(t, "by")
	m.Edit("replicas by the autoscaler", scale(min(max(n, 1), 12)))
}

// away is a time in which nobody decides: the controller is down, or has lost the Lease.
func (m *machine) away(t *rapid.T) {
	for range rapid.IntRange(1, 10).Draw(t, "rounds") {
		m.Sleep(anySleep.Draw(t, "for"))
		if rs := m.any(t); rs != nil && rapid.IntRange(0, 3).Draw(t, "fails") == 3 {
			m.Disturb(rs, rapid.IntRange(0, 20).Draw(t, "pod"))
		}
		m.SyncAll()
	}
}

// rest lets everybody work for some rounds.
func (m *machine) rest(t *rapid.T) {
	for range rapid.IntRange(1, 15).Draw(t, "rounds") {
		m.round()
	}
}

// arrive brings the journey to its end.
func (m *machine) arrive(t *rapid.T) {
	m.end(t, map[string]func(){"as it is": func() {}, "abort": m.endByAbort, "rollback": m.endByRollback, "two promotes": m.promoteTwice})
	m.settle()
	m.checkStored()
	m.checkEnd()
	m.checkServices()
	m.checkMetadata()
	m.checkSteady()
}

// end does the last thing of a journey: one of those that people do.
func (m *machine) end(t *rapid.T, ends map[string]func()) {
	end := rapid.SampledFrom(slices.Sorted(maps.Keys(ends))).Draw(t, "end")
	m.MinAvailable = 0 // A budget that forbids evictions for ever would have a restart wait for ever.
	m.Tell("- end: " + end)
	ends[end]()
}

// describe says what was counted.
func (c *tally) describe(took time.Duration) string {
	return fmt.Sprintf("%d journeys: %d actions, %d decisions, %d writes, in %s", c.journeys, c.actions, c.decisions, c.writes, took.Round(100*time.Millisecond))
}
