// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// machine does at random what people, pods, ReplicaSets and a failing controller may do to a Rollout. The
// hooks are where a test looks at what happens.
type machine struct {
	*simulator.Cluster
	t *rapid.T

	// brain is what decides: engine.Decide, unless a test breaks it.
	brain func(engine.Snapshot) engine.Decision
	// decided is called with each decision, before it is written.
	decided func(s engine.Snapshot, d engine.Decision)
	// reconciled is called after a decision on a fresh snapshot was written in full.
	reconciled func(s engine.Snapshot, d engine.Decision)
	// asked is called after a verb that was not refused.
	asked func(verb string, before, after *rollouts.Rollout)

	// edits changes something of the spec other than the image, and more are further things that may happen.
	edits func(*rapid.T)
	more  map[string]func(*rapid.T)

	// switching is true if the strategy may change.
	switching bool

	remembered []engine.Snapshot
	// stale is true while a decision is written that was made on what is no more.
	stale bool
	// deciding is the snapshot that was decided on last.
	deciding engine.Snapshot
	placed   int
}

// newMachine is a machine with a Rollout that was just created, or is Healthy, or some way into an update.
func newMachine(t *rapid.T) *machine {
	m := prepareCanary(t)
	m.begin()
	return m
}

// prepareCanary is a machine with a Rollout that was just created, and those Services that somebody has made.
func prepareCanary(t *rapid.T) *machine {
	m := prepare(t, anyRollout(t))
	for _, name := range serviceNames {
		if rapid.IntRange(0, 3).Draw(t, "Service "+name) > 0 {
			m.AddService(name)
		}
	}
	return m
}

// prepare is a machine with a Rollout that was just created.
func prepare(t *rapid.T, r *rollouts.Rollout) *machine {
	m := &machine{Cluster: simulator.New(r, start), t: t, brain: engine.Decide}
	m.edits = m.edit
	m.Decide = func(s engine.Snapshot) engine.Decision {
		m.deciding = s
		d := m.brain(s)
		if m.decided != nil {
			m.decided(s, d)
		}
		return d
	}
	return m
}

// begin lets the Rollout become Healthy, or come some way into an update.
func (m *machine) begin() {
	t := m.t
	begin := rapid.SampledFrom([]string{"created", "deployed", "updating", "updating"}).Draw(t, "begin")
	if begin == "created" {
		return
	}
	m.settle()
	if begin == "updating" {
		m.Edit("image", image(anyImage.Draw(t, "image")))
		for range rapid.IntRange(0, 8).Draw(t, "rounds") {
			m.round()
		}
	}
}

// fail ends the test with what happened.
func (m *machine) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nwhat happened:\n%s", fmt.Sprintf(format, args...), m.Trace())
}

// run does things at random. Snapshots are as old as the test says they may be.
func (m *machine) run(stale bool) { m.t.Repeat(m.actions(stale)) }

// actions are what can be done, by name.
func (m *machine) actions(stale bool) map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"reconcile": func(*rapid.T) { m.reconcile() },
		"round":     func(*rapid.T) { m.round() },
		"crash":     func(t *rapid.T) { m.crash(rapid.IntRange(0, 4).Draw(t, "after writes")) },
		"sync one": func(t *rapid.T) {
			if rs := m.any(t); rs != nil {
				m.Sync(rs)
			}
		},
		"sync early": func(t *rapid.T) {
			if rs := m.any(t); rs != nil {
				m.syncEarly(rs)
			}
		},
		"sync":    func(*rapid.T) { m.SyncAll() },
		"sleep":   func(t *rapid.T) { m.Sleep(anySleep.Draw(t, "for")) },
		"edit":    func(t *rapid.T) { m.edits(t) },
		"image":   func(t *rapid.T) { m.Edit("image", image(anyImage.Draw(t, "image"))) },
		"promote": func(t *rapid.T) { m.verb("promote") },
		"full":    func(t *rapid.T) { m.verb("full") },
		"abort":   func(t *rapid.T) { m.verb("abort") },
		"retry":   func(t *rapid.T) { m.verb("retry") },
		"disturb": func(t *rapid.T) {
			if rs := m.any(t); rs != nil {
				m.Disturb(rs, rapid.IntRange(0, 20).Draw(t, "pod"))
			}
		},
		"meddle":  m.meddle,
		"Service": m.meddleWithService,
		"restart": func(*rapid.T) { _ = m.Restart() },
		"undo":    func(t *rapid.T) { _ = m.Undo(rapid.Int64Range(0, 6).Draw(t, "to revision")) },
	}
	maps.Copy(actions, m.more)
	if stale {
		actions["remember"] = func(*rapid.T) { m.remembered = append(m.remembered, m.Snapshot()) }
		actions["reconcile stale"] = func(t *rapid.T) {
			if len(m.remembered) > 0 {
				s := m.remembered[rapid.IntRange(0, len(m.remembered)-1).Draw(t, "snapshot")]
				s.Now = m.Now()
				m.stale = true
				_, _ = m.apply(s, rapid.IntRange(0, 6).Draw(t, "writes"))
				m.stale = false
			}
		}
	}
	return actions
}

// round lets everybody work for a second.
func (m *machine) round() {
	m.reconcile()
	m.SyncAll()
	m.Sleep(time.Second)
	m.SyncAll()
}

// any is one of the ReplicaSets; nil if there is none.
func (m *machine) any(t *rapid.T) *appsv1.ReplicaSet {
	sets := m.ReplicaSets()
	if len(sets) == 0 {
		return nil
	}
	return sets[rapid.IntRange(0, len(sets)-1).Draw(t, "ReplicaSet")]
}

// reconcile decides on what the cluster is now, with statuses that tell the truth.
func (m *machine) reconcile() {
	m.ReportAll()
	s := m.Snapshot()
	if d, err := m.apply(s, -1); err != nil {
		m.fail("a decision on a fresh snapshot could not be written: %v", err)
	} else if m.reconciled != nil {
		m.reconciled(s, d)
	}
}

// syncEarly has a decision made between the two halves of a sync: the status of the ReplicaSet has seen its
// size, but not yet what became of its pods.
func (m *machine) syncEarly(rs *appsv1.ReplicaSet) {
	m.ReportAll()
	i := slices.IndexFunc(m.ReplicaSets(), func(other *appsv1.ReplicaSet) bool { return other.UID == rs.UID })
	m.SyncEarly(m.ReplicaSets()[i])
	if _, err := m.apply(m.Snapshot(), -1); err != nil {
		m.fail("a decision on a fresh snapshot could not be written: %v", err)
	}
}

func (m *machine) crash(writes int) {
	m.ReportAll()
	_, _ = m.apply(m.Snapshot(), writes)
}

func (m *machine) apply(s engine.Snapshot, writes int) (engine.Decision, error) {
	d := m.Decide(s)
	return d, m.Apply(s, d, writes)
}

func (m *machine) verb(name string) bool {
	before := m.Rollout
	var err error
	switch name {
	case "promote":
		err = m.Promote(false)
	case "full":
		err = m.Promote(true)
	case "abort":
		err = m.Abort()
	case "retry":
		err = m.Retry()
	}
	if err == nil && m.asked != nil {
		m.asked(name, before, m.Rollout)
	}
	return err == nil
}

// edit changes something of the spec other than the image.
func (m *machine) edit(t *rapid.T) {
	switch rapid.SampledFrom([]string{"scale", "scale", "steps", "pause", "bounds", "ready", "history", "deadline", "services", "threshold", "window", "metadata", "antiAffinity", "everything"}).Draw(t, "what") {
	case "scale":
		m.Edit("replicas", scale(anyReplicas.Draw(t, "replicas")))
	case "steps":
		list := anySteps.Draw(t, "steps")
		m.Edit("steps", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.Steps = list })
	case "pause":
		m.Edit("paused", func(spec *rollouts.RolloutSpec) { spec.Paused = !spec.Paused })
	case "bounds":
		b := anyBounds.Draw(t, "bounds")
		m.Edit("bounds", func(spec *rollouts.RolloutSpec) {
			*spec = bounded(&rollouts.Rollout{Spec: *spec}, b[0], b[1]).Spec
		})
	case "ready":
		s := rapid.SampledFrom([]int32{0, 0, 3, 30}).Draw(t, "minReadySeconds")
		m.Edit("minReadySeconds", func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = s })
	case "history":
		n := rapid.Int32Range(0, 3).Draw(t, "revisionHistoryLimit")
		m.Edit("revisionHistoryLimit", func(spec *rollouts.RolloutSpec) { spec.RevisionHistoryLimit = &n })
	case "deadline":
		m.Edit("progressDeadlineAbort", func(spec *rollouts.RolloutSpec) { spec.ProgressDeadlineAbort = !spec.ProgressDeadlineAbort })
	case "services":
		names := anyServices.Draw(t, "services")
		m.Edit("services", func(spec *rollouts.RolloutSpec) {
			spec.Strategy.Canary.StableService, spec.Strategy.Canary.CanaryService = names[0], names[1]
		})
	case "threshold":
		threshold := anyThreshold(t)
		m.Edit("replicaProgressThreshold", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.ReplicaProgressThreshold = threshold })
	case "window":
		n := rapid.Int32Range(0, 3).Draw(t, "rollbackWindow")
		m.Edit("rollbackWindow", func(spec *rollouts.RolloutSpec) { spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: n} })
	case "metadata":
		stable, canary := anyMetadata(t), anyMetadata(t)
		m.Edit("metadata", func(spec *rollouts.RolloutSpec) {
			spec.Strategy.Canary.StableMetadata, spec.Strategy.Canary.CanaryMetadata = stable, canary
		})
	case "antiAffinity":
		anti := anyAntiAffinity.Draw(t, "antiAffinity")
		m.Edit("antiAffinity", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.AntiAffinity = anti })
	case "everything":
		n, name, list := anyReplicas.Draw(t, "replicas"), anyImage.Draw(t, "image"), anySteps.Draw(t, "steps")
		m.Edit("replicas, image and steps", func(spec *rollouts.RolloutSpec) {
			scale(n)(spec)
			image(name)(spec)
			spec.Strategy.Canary.Steps = list
		})
	}
}

// meddle does what others may do to ReplicaSets behind the controller's back.
func (m *machine) meddle(t *rapid.T) {
	switch rapid.SampledFrom([]string{"nothing", "nothing", "stranger", "orphan", "remove", "mark"}).Draw(t, "how") {
	case "stranger":
		m.place(t, ptr.To(types.UID("somebody else")))
	case "orphan":
		m.place(t, nil)
	case "remove", "mark":
		atOnce := rapid.Bool().Draw(t, "at once")
		if rs := m.any(t); rs != nil {
			m.Remove(rs, atOnce || rs.DeletionTimestamp != nil)
		}
	}
}

// meddleWithService does what others may do to Services.
func (m *machine) meddleWithService(t *rapid.T) {
	name := rapid.SampledFrom(serviceNames).Draw(t, "name")
	switch rapid.SampledFrom([]string{"nothing", "make", "remove", "give", "give back"}).Draw(t, "do") {
	case "make":
		if m.Service(name) == nil {
			m.AddService(name)
		}
	case "remove":
		m.RemoveService(name)
	case "give":
		m.GiveService(name, "other")
	case "give back":
		m.GiveService(name, "")
	}
}

// place puts a ReplicaSet there that matches the selector and that another controls, or nobody.
func (m *machine) place(t *rapid.T, owner *types.UID) {
	m.placed++
	template := m.Rollout.Spec.Template.DeepCopy()
	template.Spec.Containers[0].Image = anyImage.Draw(t, "image")
	name := fmt.Sprintf("placed%d", m.placed)
	template.Labels[rollouts.PodTemplateHashLabel] = name
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Labels: template.Labels, Generation: 1, CreationTimestamp: metav1.NewTime(m.Now()),
			Annotations: map[string]string{rollouts.RevisionAnnotation: fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "revision"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(rapid.Int32Range(0, 3).Draw(t, "size")), Template: *template},
	}
	if owner != nil {
		rs.OwnerReferences = []metav1.OwnerReference{{UID: *owner, Kind: "Deployment", Name: "other", Controller: ptr.To(true)}}
	}
	m.Place(rs)
}

// calm ends all faults: statuses are true, nothing is being deleted any more.
func (m *machine) calm() {
	for _, rs := range m.ReplicaSets() {
		if rs.DeletionTimestamp != nil {
			m.Remove(rs, true)
		}
	}
	m.SyncAll()
}

// settle lets everything come to its end.
func (m *machine) settle() {
	m.t.Helper()
	m.calm()
	if !m.Settle(2000) {
		m.fail("it does not come to an end")
	}
}

// owned are the ReplicaSets that the Rollout controls.
func (m *machine) owned() []*appsv1.ReplicaSet {
	return slices.DeleteFunc(m.ReplicaSets(), func(rs *appsv1.ReplicaSet) bool {
		owner := metav1.GetControllerOf(rs)
		return owner == nil || owner.UID != m.Rollout.UID
	})
}

// inFlight is true if there is an update to take back, and a ReplicaSet to go back to.
func (m *machine) inFlight() bool {
	st := m.Rollout.Status
	return st.StableRS != "" && st.StableRS != st.CurrentPodHash && m.Find(st.StableRS) != nil
}
