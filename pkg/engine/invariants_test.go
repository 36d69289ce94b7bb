// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// The nine invariants of the design, each over random Rollouts, faults and verbs on the simulated cluster.
// Run more with -rapid.checks; repeat a failure with the -rapid.seed that it prints.

// TestInvariant1NeverBelowMinAvailableNorAboveSurge: no act of ours takes available pods below replicas −
// maxUnavailable, nor raises pods above replicas + maxSurge. Judged by what becomes of the pods in truth.
func TestInvariant1NeverBelowMinAvailableNorAboveSurge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.OnWrite, m.OnEvict = m.checkBounds, m.checkEviction
		m.run(false)
		m.settle()
	})
}

func (m *machine) checkBounds(before, after *appsv1.ReplicaSet) {
	checkBounds(m.Cluster, m.fail, before, after)
}

// TestInvariant2StepsRiseByOneWhenTheirConditionHolds: the step index rises by one at a time, and only when
// the step's own condition holds or by a promote.
func TestInvariant2StepsRiseByOneWhenTheirConditionHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.decided = m.checkDecidedStep
		m.run(true)
	})
}

func (m *machine) checkDecidedStep(s engine.Snapshot, d engine.Decision) {
	if d.Status != nil && s.Rollout.Spec.Strategy.Canary != nil { // A snapshot may be of the strategy before.
		m.checkStep(s, d.Status)
	}
}

func (m *machine) checkStep(s engine.Snapshot, now *rollouts.RolloutStatus) {
	r, was := s.Rollout, &s.Rollout.Status
	list := r.Spec.Strategy.Canary.Steps
	from, to := ptr.Deref(was.CurrentStepIndex, 0), ptr.Deref(now.CurrentStepIndex, 0)
	switch {
	case from == to:
	case now.Abort && !was.Abort && to == 0: // the progress deadline
	case now.CurrentPodHash != was.CurrentPodHash && now.CurrentPodHash == now.StableRS && int(to) == len(list): // a rollback found late
	case to != from+1:
		m.fail("the step index went from %d to %d", from, to)
	case was.Abort || was.PromoteFull || r.Spec.Paused || was.StableRS == "" || was.StableRS == was.CurrentPodHash:
		m.fail("step %d was taken though no step may be: %+v", from, *was)
	case list[from].Pause != nil:
		m.checkPauseOver(s, list[from].Pause)
	default:
		m.checkWeightReached(s, now.CurrentPodHash, *list[from].SetWeight)
	}
}

func (m *machine) checkPauseOver(s engine.Snapshot, p *rollouts.RolloutPause) {
	if p.Duration == nil {
		m.fail("a pause without end ended by itself")
	}
	length, _ := engine.PauseDuration(p.Duration)
	if length == 0 {
		return
	}
	began := s.Rollout.Status.PauseConditions
	if len(began) == 0 || s.Now.Sub(began[0].StartTime.Time) < length {
		m.fail("a pause of %s ended early: %v", length, began)
	}
}

// checkWeightReached holds the pods against a weight, by the share itself and not by the rules of rounding:
// no split of these pods may be nearer. current is the hash of the new revision, as the decision has found it.
func (m *machine) checkWeightReached(s engine.Snapshot, current string, weight int32) {
	n, surge, _ := bounds(s.Rollout)
	var canary, total int32
	stable := false
	for _, rs := range s.ReplicaSets {
		if owner := metav1.GetControllerOf(rs); owner == nil || owner.UID != s.Rollout.UID || rs.DeletionTimestamp != nil {
			continue
		}
		switch rs.Labels[rollouts.PodTemplateHashLabel] {
		case current:
			canary = *rs.Spec.Replicas
			total += canary
			if available, want := rs.Status.AvailableReplicas, needed(s.Rollout, canary); available < want {
				m.fail("a weight counts as reached with %d of %d canary pods available, of which %d are needed", available, canary, want)
			}
		case s.Rollout.Status.StableRS:
			total += rs.Status.Replicas
			stable = true
		default:
			if rs.Status.AvailableReplicas > 0 {
				m.fail("a weight counts as reached with older pods available")
			}
		}
	}
	if stable && (total < n || total > n+1 || total > n+surge) {
		m.fail("a weight counts as reached with %d pods of %d", total, n)
	}
	if stable && n > 0 && abs(100*canary-weight*total) >= 100*total/min(total, n)+100 {
		m.fail("weight %d counts as reached with %d of %d pods", weight, canary, total)
	}
}

// needed is how many of the canary pods must be available, independently of the engine.
func needed(r *rollouts.Rollout, pods int32) int32 {
	switch t := r.Spec.Strategy.Canary.ReplicaProgressThreshold; {
	case t == nil:
		return pods
	case t.Type == rollouts.ProgressThresholdPods:
		return min(pods, t.Value)
	default:
		return (pods*t.Value + 99) / 100
	}
}

func abs(i int32) int32 { return max(i, -i) }

// TestInvariant3PromoteMovesOneStep: a promote moves at most one step, unless full.
func TestInvariant3PromoteMovesOneStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.asked = m.checkVerb
		m.run(true)
		m.promoteTwice()
	})
}

func (m *machine) checkVerb(verb string, before, after *rollouts.Rollout) {
	from, to := before.Status.CurrentStepIndex, after.Status.CurrentStepIndex
	switch {
	case verb == "promote" && *to != *from+1 && len(after.Status.Approvals) == 0:
		m.fail("promote moved from step %d to %d", *from, *to)
	case verb == "full" && !after.Status.PromoteFull:
		m.fail("promote with full does not promote in full")
	case !apiequality.Semantic.DeepEqual(before.Spec, after.Spec) || before.Generation != after.Generation:
		m.fail("%s changed the spec", verb)
	}
}

// promoteTwice promotes two times at once: the second acts on what the first left, so that each is one step.
func (m *machine) promoteTwice() {
	before := ptr.Deref(m.Rollout.Status.CurrentStepIndex, 0)
	promotes := int32(0)
	for range 2 {
		if m.verb("promote") && len(m.Rollout.Status.Approvals) == 0 {
			promotes++
		}
	}
	if got := ptr.Deref(m.Rollout.Status.CurrentStepIndex, 0); got != before+promotes {
		m.fail("%d promotes moved from step %d to %d", promotes, before, got)
	}
}

// TestInvariant4AbortEndsAtStable: abort, from any state in which a stable ReplicaSet exists, ends at 100 %
// stable without restarting one stable pod.
func TestInvariant4AbortEndsAtStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(true)
		m.endByAbort()
	})
}

// endByAbort aborts, if that is possible.
func (m *machine) endByAbort() {
	m.calm()
	if !m.inFlight() || m.brokenStable() || m.heldBack() || m.restarting() || !m.Rollout.Status.Abort && !m.verb("abort") {
		return
	}
	hash, n := m.Rollout.Status.StableRS, *m.Rollout.Spec.Replicas
	had := m.serials(hash)
	m.settle()
	has := m.serials(hash)
	if got := m.Available(m.Find(hash)); got != n {
		m.fail("%d stable pods are available after an abort, want %d", got, n)
	}
	for _, rs := range m.owned() {
		if rs.UID != m.Find(hash).UID && len(m.PodsOf(rs)) > 0 {
			m.fail("%s still has pods after an abort", rs.Name)
		}
	}
	lost := slices.DeleteFunc(slices.Clone(had), func(serial int) bool { return slices.Contains(has, serial) })
	if len(lost) > max(0, len(had)-int(n)) {
		m.fail("stable pods %v were taken by an abort", lost)
	}
}

// serials tell the pods of a revision apart.
func (m *machine) serials(hash string) []int {
	var serials []int
	for _, p := range m.PodsOf(m.Find(hash)) {
		serials = append(serials, p.Serial)
	}
	return serials
}

// brokenStable is true if the stable revision never works: it became stable at 0 replicas.
func (m *machine) brokenStable() bool {
	_, works := m.Pods(&m.Find(m.Rollout.Status.StableRS).Spec.Template)
	return !works
}

// heldBack is true if orphans of a higher revision are still to be counted in, before anything is done.
func (m *machine) heldBack() bool {
	return slices.ContainsFunc(m.ReplicaSets(), isOrphan)
}

// TestInvariant5BackToStableIsARollback: going back to the stable template, while its ReplicaSet exists,
// creates no ReplicaSet and skips steps and pauses.
func TestInvariant5BackToStableIsARollback(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(true)
		m.endByRollback()
	})
}

// endByRollback puts the stable template back, if there is one to go back to.
func (m *machine) endByRollback() {
	m.calm()
	if !m.inFlight() || m.brokenStable() || m.heldBack() {
		return
	}
	stable := m.Find(m.Rollout.Status.StableRS)
	template := engine.TemplateOf(stable)
	m.Edit("back to stable", func(spec *rollouts.RolloutSpec) { spec.Template, spec.Paused = *template, false })
	if st := m.Rollout.Status; st.CurrentPodHash != st.StableRS {
		return // Another ReplicaSet, newer than the stable one, runs the same template.
	}
	onWrite, decided := m.OnWrite, m.decided
	m.OnWrite = func(before, after *appsv1.ReplicaSet) {
		if onWrite != nil {
			onWrite(before, after)
		}
		if before == nil {
			m.fail("a rollback created %s", after.Name)
		}
	}
	m.decided = func(s engine.Snapshot, d engine.Decision) {
		if decided != nil {
			decided(s, d)
		}
		if d.Status != nil && (len(d.Status.PauseConditions) > 0 || int(ptr.Deref(d.Status.CurrentStepIndex, 0)) != len(m.Rollout.Spec.Strategy.Canary.Steps)) {
			m.fail("a rollback takes steps")
		}
	}
	m.reconcile()
	m.settle()
	if m.Rollout.Status.Phase != rollouts.RolloutPhaseHealthy && !m.lacksService() {
		m.fail("a rollback ended %s", m.Rollout.Status.Phase)
	}
}

// TestInvariant6OthersAreLeftAlone: we never scale, adopt or delete what another controller owns.
func TestInvariant6OthersAreLeftAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.OnWrite = m.checkOwner
		m.run(true)
		m.settle()
	})
}

func (m *machine) checkOwner(before, _ *appsv1.ReplicaSet) {
	if before == nil {
		return
	}
	if owner := metav1.GetControllerOf(before); owner != nil && owner.UID != m.Rollout.UID {
		m.fail("wrote to %s, which %s %s owns", before.Name, owner.Kind, owner.Name)
	}
	if before.DeletionTimestamp != nil {
		m.fail("wrote to %s, which is being deleted", before.Name)
	}
}

// TestInvariant7DecideIsDeterministicAndIdempotent: two decisions on the same are the same, whatever the
// order of ReplicaSets; nothing that is shown is changed; and on the world that its decision produced
// Decide decides nothing more, unless it took a step, after which the next may be due, or led a Service elsewhere, for which it waited.
func TestInvariant7DecideIsDeterministicAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.decided = m.checkDeterminism
		m.reconciled = func(s engine.Snapshot, d engine.Decision) {
			for range 20 {
				stepped := d.Status != nil && !ptr.Equal(d.Status.CurrentStepIndex, s.Rollout.Status.CurrentStepIndex)
				adopting := slices.ContainsFunc(s.ReplicaSets, isOrphan)
				evicted, led := len(d.Evict) > 0, len(d.Services) > 0
				s = m.Snapshot()
				d = m.brain(s)
				if !writes(d) {
					return
				}
				if !stepped && !adopting && !evicted && !led {
					m.fail("decided more on the world that its decision produced: %+v", d)
				}
				if err := m.Apply(s, d, -1); err != nil {
					m.fail("%v", err)
				}
			}
			m.fail("never stops deciding")
		}
		m.run(true)
	})
}

func (m *machine) checkDeterminism(s engine.Snapshot, d engine.Decision) {
	before := s.Rollout.DeepCopy()
	shown := s
	shown.ReplicaSets, shown.Services = slices.Clone(s.ReplicaSets), slices.Clone(s.Services)
	slices.Reverse(shown.ReplicaSets)
	slices.Reverse(shown.Services)
	again := m.brain(shown)
	if !reflect.DeepEqual(d, again) {
		m.fail("decided differently on the same:\n%+v\n%+v", d, again)
	}
	if !reflect.DeepEqual(before, s.Rollout) {
		m.fail("Decide changed what it was shown")
	}
}

func isOrphan(rs *appsv1.ReplicaSet) bool { return metav1.GetControllerOf(rs) == nil }

// writes is true if a decision writes anything.
func writes(d engine.Decision) bool {
	return len(d.Adopt) > 0 || d.Create != nil || len(d.Scale) > 0 || len(d.Pods) > 0 || len(d.Services) > 0 || len(d.Evict) > 0 || len(d.Delete) > 0 || d.Status != nil || len(d.Events) > 0
}

// TestInvariant8NothingIsWrittenInASteadyState, however long it lasts.
func TestInvariant8NothingIsWrittenInASteadyState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(true)
		m.settle()
		m.checkSteady()
	})
}

func (m *machine) checkSteady() {
	for _, later := range []time.Duration{time.Microsecond, time.Second, time.Hour, 1000 * time.Hour} {
		m.Sleep(later)
		m.SyncAll()
		if d := m.brain(m.Snapshot()); writes(d) || d.RequeueAfter != 0 {
			m.fail("in a steady state, %s later, decided %+v", later, d)
		}
	}
}

// TestInvariant9EveryRolloutEnds: with fair scheduling every rollout ends: Healthy, or Paused by request, or
// Degraded with a reason.
func TestInvariant9EveryRolloutEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(true)
		m.settle()
		m.checkEnd()
	})
}

func (m *machine) checkEnd() {
	st := m.Rollout.Status
	switch st.Phase {
	case rollouts.RolloutPhaseHealthy:
		current := m.Find(st.CurrentPodHash)
		if current == nil || m.Available(current) != *m.Rollout.Spec.Replicas || st.Replicas != *m.Rollout.Spec.Replicas {
			m.fail("Healthy, but it is not")
		}
	case rollouts.RolloutPhasePaused:
		if !m.Rollout.Spec.Paused && len(st.PauseConditions) == 0 {
			m.fail("Paused, but nobody asked for it")
		}
	case rollouts.RolloutPhaseDegraded:
		if st.Message == "" {
			m.fail("Degraded without a reason")
		}
	default:
		m.fail("it ended %s: %s", st.Phase, st.Message)
	}
	if st.ObservedGeneration != m.Rollout.Generation {
		m.fail("the last change of the spec was never observed")
	}
}
