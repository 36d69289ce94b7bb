// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// The invariants of the design for blueGreen, each over random strategies, edits, faults and verbs.

// TestBlueGreenClientsAreServed: every write that leads clients to another revision leads them to one all of whose
// pods are available; or back to the stable one, from a revision with no more available pods. No write takes pods from
// the revision that clients are led to, but by a change of replicas, nor all pods from one that any Service leads to,
// nor those that are still to be kept. None makes more than 2 x replicas pods, one more in a restart, without those
// that are kept. Judged by the pods and Services in truth.
func TestBlueGreenClientsAreServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.OnLead, m.OnWrite = m.checkLead, m.checkBlueGreenWrite
		m.run(false)
		m.healServices()
		m.settle()
	})
}

func (m *machine) checkLead(before, after *corev1.Service) {
	from, to := before.Spec.Selector[rollouts.PodTemplateHashLabel], after.Spec.Selector[rollouts.PodTemplateHashLabel]
	if after.Name != "demo-active" || from == to {
		return
	}
	n, old, rs := *m.Rollout.Spec.Replicas, m.Find(from), m.Find(to)
	had := int32(0)
	if old != nil {
		had = m.Available(old)
	}
	st := m.Rollout.Status
	switch {
	case rs == nil:
		m.fail("clients are led to %q, which is not there", to)
	case before.Annotations[rollouts.ManagedByRolloutAnnotation] == "other":
		m.fail("the Service of another is led")
	case n == 0 && had > 0:
		m.fail("with 0 replicas clients are led away from %d pods", had)
	case m.Available(rs) >= n && *rs.Spec.Replicas >= n && rs.Spec.MinReadySeconds == m.Rollout.Spec.MinReadySeconds:
	case to == st.StableRS && from != "" && m.Available(rs) >= had:
	default:
		m.fail("clients are led from %d available pods to %d of %d", had, m.Available(rs), n)
	}
	if to == st.CurrentPodHash && st.StableRS != "" && st.StableRS != to && (st.Abort || !isPromoted(&st)) {
		m.fail("clients are led to a revision that was not promoted")
	}
}

func (m *machine) checkBlueGreenWrite(before, after *appsv1.ReplicaSet) {
	n := *m.Rollout.Spec.Replicas
	if after == nil {
		if len(m.PodsOf(before)) > 0 || *before.Spec.Replicas > 0 {
			m.fail("deleted ReplicaSet %s, which has pods", before.Name)
		}
		return
	}
	was, now, hash := int32(0), *after.Spec.Replicas, after.Labels[rollouts.PodTemplateHashLabel]
	if before != nil {
		was = *before.Spec.Replicas
	}
	if now > was && now > int32(len(m.PodsOf(after))) { // Else it only keeps pods that it has.
		m.checkBlueGreenRoom(after)
	}
	if now >= min(was, n) {
		return
	}
	switch {
	case hash == m.LeadsTo("demo-active") && m.Service("demo-active").Annotations[rollouts.ManagedByRolloutAnnotation] == "demo":
		if !m.spared(before) {
			m.fail("%s is cut from %d to %d while clients are led to it", after.Name, was, now)
		}
	case now == 0 && hash == m.LeadsTo("demo-preview") && m.Rollout.Spec.Strategy.BlueGreen.PreviewService != "" && m.Service("demo-preview").Annotations[rollouts.ManagedByRolloutAnnotation] == "demo":
		m.fail("%s is cut to 0 while previews are led to it", after.Name)
	case hash == m.Rollout.Status.StableRS && m.Find(m.Rollout.Status.CurrentPodHash) != nil:
		m.fail("the stable %s is cut from %d to %d", after.Name, was, now)
	case m.keptBefore(before) && m.Rollout.Spec.Strategy.BlueGreen.ScaleDownDelayRevisionLimit == nil:
		if until, err := time.Parse(time.RFC3339Nano, before.Annotations[rollouts.ScaleDownDeadlineAnnotation]); err == nil && m.Now().Before(until) {
			m.fail("%s is cut from %d to %d before its time", after.Name, was, now)
		}
	}
}

// spared is true if a ReplicaSet had one pod more than replicas, for a restart.
func (m *machine) spared(rs *appsv1.ReplicaSet) bool {
	return m.Rollout.Spec.RestartAt != nil && *rs.Spec.Replicas == *m.Rollout.Spec.Replicas+1
}

// keptBefore is true if clients were led to a ReplicaSet before, and its pods are kept for that.
func (m *machine) keptBefore(rs *appsv1.ReplicaSet) bool {
	hash, st := rs.Labels[rollouts.PodTemplateHashLabel], m.Rollout.Status
	return rs.Annotations[rollouts.ScaleDownDeadlineAnnotation] != "" && rs.Annotations[rollouts.OutcomeAnnotation] == rollouts.OutcomePromoted &&
		hash != st.CurrentPodHash && hash != st.StableRS
}

func (m *machine) checkBlueGreenRoom(raised *appsv1.ReplicaSet) {
	most := 2 * *m.Rollout.Spec.Replicas
	if m.Rollout.Spec.RestartAt != nil {
		most++
	}
	pods := int32(0)
	for _, rs := range m.owned() {
		switch {
		case m.keptBefore(rs):
		case rs.DeletionTimestamp != nil:
			pods += int32(len(m.PodsOf(rs)))
		default:
			pods += max(int32(len(m.PodsOf(rs))), *rs.Spec.Replicas)
		}
	}
	if pods > most {
		m.fail("raised %s to %d, so that %d pods exist, more than %d", raised.Name, *raised.Spec.Replicas, pods, most)
	}
}

// TestBlueGreenStaleControllersDoNoHarm: whatever controllers that were held up, or that crash at any write, still
// write: clients are never led to a revision without pods, nor are all pods taken from one that they are led to.
func TestBlueGreenStaleControllersDoNoHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.OnLead = func(before, after *corev1.Service) {
			from, to := before.Spec.Selector[rollouts.PodTemplateHashLabel], after.Spec.Selector[rollouts.PodTemplateHashLabel]
			if rs, old := m.Find(to), m.Find(from); after.Name == "demo-active" && from != to && rs != nil && *rs.Spec.Replicas == 0 && old != nil && m.Available(old) > 0 {
				m.fail("clients are led from %d available pods to none", m.Available(old))
			}
		}
		m.OnWrite = func(before, after *appsv1.ReplicaSet) {
			if before == nil || after == nil || *after.Spec.Replicas > 0 || *before.Spec.Replicas == 0 || m.deciding.Rollout != nil && *m.deciding.Rollout.Spec.Replicas == 0 || *m.Rollout.Spec.Replicas == 0 {
				return
			}
			if s := m.Service("demo-active"); s != nil && s.Annotations[rollouts.ManagedByRolloutAnnotation] == "demo" && m.LeadsTo("demo-active") == after.Labels[rollouts.PodTemplateHashLabel] {
				m.fail("all pods of %s are taken while clients are led to it", after.Name)
			}
		}
		m.run(true)
		m.healServices()
		m.settle()
	})
}

// TestBlueGreenPausesEndByAPromoteOrInTime: invariants 2 and 3.
func TestBlueGreenPausesEndByAPromoteOrInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.decided, m.asked = m.checkDecidedPromotion, m.checkBlueGreenVerb
		m.run(true)
	})
}

func (m *machine) checkDecidedPromotion(s engine.Snapshot, d engine.Decision) {
	if s.Rollout.Spec.Strategy.BlueGreen == nil {
		return // A snapshot of the strategy before.
	}
	if was := &s.Rollout.Status; d.Status != nil && isPromoted(d.Status) && !isPromoted(was) {
		m.checkPromotion(s)
	}
}

func (m *machine) checkBlueGreenVerb(verb string, before, after *rollouts.Rollout) {
	switch {
	case verb == "promote" && (len(before.Status.PauseConditions) == 0 || isPromoted(&before.Status) || !isPromoted(&after.Status) || len(after.Status.PauseConditions) > 0):
		m.fail("a promote led from %+v to %+v", before.Status, after.Status)
	case (verb == "abort" || verb == "retry") && (isPromoted(&after.Status) || len(after.Status.PauseConditions) > 0):
		m.fail("after %s the update is promoted", verb)
	}
}

// checkPromotion looks at a promotion that the engine decided on: nobody asked for it.
func (m *machine) checkPromotion(s engine.Snapshot) {
	b, st := s.Rollout.Spec.Strategy.BlueGreen, &s.Rollout.Status
	hash := st.CurrentPodHash
	i := slices.IndexFunc(s.ReplicaSets, func(rs *appsv1.ReplicaSet) bool {
		return rs.Labels[rollouts.PodTemplateHashLabel] == hash && rs.DeletionTimestamp == nil
	})
	if i < 0 {
		return // Found by its template, under another hash.
	}
	rs := s.ReplicaSets[i]
	if rs.Annotations[rollouts.ScaleDownDeadlineAnnotation] != "" && rs.Status.AvailableReplicas > 0 {
		return // It is still kept from before.
	}
	wait := time.Duration(ptr.Deref(b.AutoPromotionSeconds, 0)) * time.Second
	switch began := st.PauseConditions; {
	case !*b.AutoPromotionEnabled:
		m.fail("an update that waits for a promote was promoted")
	case s.Rollout.Spec.Paused || st.Abort:
		m.fail("an update that is paused by hand or aborted was promoted")
	case wait > 0 && (len(began) == 0 || s.Now.Sub(began[0].StartTime.Time) < wait):
		m.fail("a pause of %s ended early", wait)
	case wait == 0 && len(began) == 0 && rs.Status.AvailableReplicas < min(ptr.Deref(b.PreviewReplicaCount, *s.Rollout.Spec.Replicas), *s.Rollout.Spec.Replicas):
		m.fail("promoted with %d pods available", rs.Status.AvailableReplicas)
	}
}

// TestBlueGreenAbortEndsAtStable: invariant 4.
func TestBlueGreenAbortEndsAtStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.run(true)
		m.endBlueGreenByAbort()
	})
}

// endBlueGreenByAbort aborts, if that is possible.
func (m *machine) endBlueGreenByAbort() {
	m.calm()
	m.healServices()
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
	if got := m.LeadsTo("demo-active"); got != hash {
		m.fail("clients are led to %q after an abort, want the stable %q", got, hash)
	}
	delay := m.Rollout.Spec.Strategy.BlueGreen.AbortScaleDownDelaySeconds
	if current := m.Find(m.Rollout.Status.CurrentPodHash); current != nil && m.Rollout.Status.CurrentPodHash != hash && ptr.Deref(delay, 30) > 0 && len(m.PodsOf(current)) > 0 {
		m.fail("%s still has pods after an abort", current.Name)
	}
	lost := slices.DeleteFunc(slices.Clone(had), func(serial int) bool { return slices.Contains(has, serial) })
	if len(lost) > max(0, len(had)-int(n)) {
		m.fail("stable pods %v were taken by an abort", lost)
	}
}

// TestBlueGreenBackToStableIsARollback: invariant 5.
func TestBlueGreenBackToStableIsARollback(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.run(true)
		m.endBlueGreenByRollback()
	})
}

// endBlueGreenByRollback puts the stable template back, if there is one to go back to.
func (m *machine) endBlueGreenByRollback() {
	m.calm()
	m.healServices()
	if !m.inFlight() || m.brokenStable() || m.heldBack() {
		return
	}
	template := m.Find(m.Rollout.Status.StableRS).Spec.Template.DeepCopy()
	delete(template.Labels, rollouts.PodTemplateHashLabel)
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
		if d.Status != nil && len(d.Status.PauseConditions) > 0 {
			m.fail("a rollback pauses")
		}
	}
	m.reconcile()
	m.settle()
	if m.Rollout.Status.Phase != rollouts.RolloutPhaseHealthy || m.LeadsTo("demo-active") != m.Rollout.Status.StableRS {
		m.fail("a rollback ended %s", m.Rollout.Status.Phase)
	}
}

// TestBlueGreenDecideIsDeterministicAndComesToAnEnd: invariant 7. What follows from a Service being led is decided
// when that is observed, so that a decision may be followed by others; it is never by many.
func TestBlueGreenDecideIsDeterministicAndComesToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.decided = m.checkDeterminism
		m.reconciled = func(engine.Snapshot, engine.Decision) {
			for range 12 {
				s := m.Snapshot()
				d := engine.Decide(s)
				if !writes(d) && len(d.Services) == 0 {
					return
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

// TestBlueGreenLeavesOthersAlone: invariant 6.
func TestBlueGreenLeavesOthersAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.OnWrite, m.OnLead = m.checkOwner, m.checkManager
		m.run(true)
		m.settle()
	})
}

func (m *machine) checkManager(before, _ *corev1.Service) {
	if before.Annotations[rollouts.ManagedByRolloutAnnotation] == "other" {
		m.fail("wrote to Service %s of another", before.Name)
	}
}

// TestBlueGreenEnds: invariants 8 and 9.
func TestBlueGreenEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.run(true)
		m.settle()
		m.checkBlueGreenEnd()
	})
}

func (m *machine) checkBlueGreenEnd() {
	st := m.Rollout.Status
	switch st.Phase {
	case rollouts.RolloutPhaseHealthy:
		current := m.Find(st.CurrentPodHash)
		if current == nil || m.Available(current) != *m.Rollout.Spec.Replicas || m.LeadsTo("demo-active") != st.CurrentPodHash {
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
	for _, later := range []time.Duration{time.Microsecond, time.Hour, 1000 * time.Hour} {
		m.Sleep(later)
		m.SyncAll()
		if d := m.brain(m.Snapshot()); writes(d) || len(d.Services) > 0 || d.RequeueAfter != 0 {
			m.fail("in a steady state, %s later, decided %+v", later, d)
		}
	}
}
