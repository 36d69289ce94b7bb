// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

func TestBlueGreenRestart(t *testing.T) {
	for name, test := range map[string]struct {
		n, lost     int32
		unavailable string
	}{
		"a single pod is replaced before it goes": {1, 0, "25%"},
		"one of four":     {4, 1, "25%"},
		"none of four":    {4, 0, "0"},
		"all but a fifth": {5, 4, "80%"},
	} {
		t.Run(name, func(t *testing.T) {
			w := serving(t, blueGreen(test.n, manual, func(b *rollouts.BlueGreenStrategy) { b.MaxUnavailable = ptr.To(intstr.Parse(test.unavailable)) }))
			w.update("v2")
			w.Sleep(time.Minute)
			w.must(w.Restart())
			active, least, most := w.Find(w.LeadsTo("demo-active")), test.n, 0
			for range 60 {
				w.Reconcile()
				least = min(least, w.Available(active))
				w.SyncAll()
				most = max(most, len(w.PodsOf(w.ReplicaSets()[0]))+len(w.PodsOf(w.ReplicaSets()[1])))
				w.Sleep(time.Second)
				w.SyncAll()
			}
			if lost := test.n - least; lost != test.lost {
				t.Errorf("%d pods of the active revision were missing, want %d", lost, test.lost)
			}
			if most > int(2*test.n)+1 {
				t.Errorf("%d pods for %d replicas", most, test.n)
			}
			w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
			if !w.Rollout.Status.RestartedAt.Equal(w.Rollout.Spec.RestartAt) {
				t.Error("the restart never ends")
			}
			w.sizes(ptrText(test.n) + " " + ptrText(test.n))
		})
	}
}

func ptrText(n int32) string { return ptr.To(intstr.FromInt32(n)).String() }

func TestCanaryToBlueGreen(t *testing.T) {
	toBlueGreen := func(spec *rollouts.RolloutSpec) {
		spec.Strategy = blueGreen(1, manual).Spec.Strategy
	}
	t.Run("at rest", func(t *testing.T) {
		w := deployed(t, rollout(4))
		w.AddService("demo-active")
		w.AddService("demo-preview")
		written := w.Written.ReplicaSets
		w.edit("blueGreen", toBlueGreen)
		w.settle()
		w.is(rollouts.RolloutPhaseHealthy, "")
		w.leads("v1", "v1")
		if w.Written.ReplicaSets != written {
			t.Error("pods were touched")
		}
		if w.Rollout.Status.Canary != nil || w.Rollout.Status.CurrentStepIndex != nil {
			t.Error("the status still speaks of the canary")
		}
	})
	t.Run("in a pause step", func(t *testing.T) {
		w := deployed(t, rollout(4, weight(75), pause("")))
		w.AddService("demo-active")
		w.AddService("demo-preview")
		w.update("v2")
		w.pods("1 3")
		w.edit("blueGreen", toBlueGreen)
		w.Reconcile()
		w.leads("", "v2") // the stable revision could not serve all clients yet
		w.settle()
		w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
		w.leads("v1", "v2")
		w.pods("4 4")
		w.must(w.Promote(false))
		w.settle()
		w.leads("v2", "v2")
		w.pods("0 4")
	})
}

func TestBlueGreenToCanaryInMidUpdate(t *testing.T) {
	w := serving(t, blueGreen(4, manual))
	w.update("v2")
	w.edit("canary", func(spec *rollouts.RolloutSpec) {
		spec.Strategy = rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{weight(25), pause("")}}}
	})
	w.step(0)
	if len(w.Rollout.Status.PauseConditions) > 0 {
		t.Fatal("the pause of blueGreen is kept")
	}
	for range 10 {
		w.Reconcile()
		if w.LeadsTo("demo-active") == "" && len(w.PodsOf(w.Find(w.Rollout.Status.CurrentPodHash))) > 1 {
			t.Fatal("clients are led to all pods before those of the new revision are as few as the step says")
		}
		if w.LeadsTo("demo-active") != "" && *w.Find(w.Rollout.Status.StableRS).Spec.Replicas < 4 {
			t.Fatal("pods are taken from the stable revision while clients are led to it alone")
		}
		w.SyncAll()
	}
	w.leads("", "")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("3 1")
}

// TestBlueGreenToCanaryAfterACrash: of a switch only the active Service was led to the new revision, and the status tells
// of neither. The Service with the clients is given back before pods are taken from what it leads to.
func TestBlueGreenToCanaryAfterACrash(t *testing.T) {
	w := serving(t, blueGreen(2))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	w.Sleep(time.Second) // Its pods are ready before anybody looks again.
	w.SyncAll()
	s := w.Snapshot()
	if err := w.Apply(s, engine.Decide(s), 2); !errors.Is(err, simulator.ErrCrashed) {
		t.Fatalf("it does not crash after the status and a Service: %v", err)
	}
	w.leads("v2", "v1")
	w.edit("canary", func(spec *rollouts.RolloutSpec) {
		spec.Strategy = rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{weight(25), pause("")}}}
	})
	for range 10 {
		s := w.Snapshot()
		d := engine.Decide(s)
		if w.LeadsTo("demo-active") != "" && slices.ContainsFunc(d.Scale, func(c engine.ReplicaSetChange) bool { return c.Replicas < 2 }) {
			t.Fatalf("pods are taken while clients are led to v2 alone: %+v", d.Scale)
		}
		if err := w.Apply(s, d, -1); err != nil {
			t.Fatal(err)
		}
		w.SyncAll()
	}
	w.leads("", "")
	w.settle()
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("2 1")
}

// TestBlueGreenBackToNothing: the update is taken back, and replicas set to 0, just after clients were led to it. They
// are led back when its pods are gone, not to a stable revision whose pods go as well.
func TestBlueGreenBackToNothing(t *testing.T) {
	w := serving(t, blueGreen(1))
	w.edit("image v2", image("v2"))
	w.Reconcile()
	w.SyncAll()
	w.must(w.Restart()) // It has one stable pod more made, which the ReplicaSet is not seen to have taken up.
	w.Sleep(time.Second)
	w.SyncAll()
	w.Reconcile()
	w.leads("v2", "v2")
	w.OnLead = func(before, after *corev1.Service) {
		if from := w.Find(before.Spec.Selector[rollouts.PodTemplateHashLabel]); before.Name == "demo-active" && w.Available(from) > 0 {
			t.Errorf("clients are led away from %d pods", w.Available(from))
		}
	}
	w.edit("v1 with replicas 0", func(spec *rollouts.RolloutSpec) {
		image("v1")(spec)
		scale(0)(spec)
	})
	w.Reconcile()
	w.leads("v2", "v1")
	w.settle()
	w.leads("v1", "v1")
	w.pods("0 0")
	w.is(rollouts.RolloutPhaseHealthy, "")
}

// TestBlueGreenGates: who may only edit does not lead clients to a revision that waits for a promote.
func TestBlueGreenGates(t *testing.T) {
	w := serving(t, blueGreen(2, manual))
	rightsAfter := func(change func(*rollouts.RolloutSpec)) []engine.NeededRight {
		edited := w.Rollout.DeepCopy()
		change(&edited.Spec)
		return engine.RightsToEdit(w.Rollout, edited)
	}
	canary := func(steps ...rollouts.CanaryStep) func(*rollouts.RolloutSpec) {
		return func(spec *rollouts.RolloutSpec) {
			spec.Strategy = rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: steps}}
		}
	}
	auto := bg(func(b *rollouts.BlueGreenStrategy) { b.AutoPromotionEnabled = ptr.To(true) })
	if got := rightsAfter(auto); got != nil {
		t.Errorf("with no update in flight: %+v", got)
	}
	w.update("v2")
	for name, change := range map[string]func(*rollouts.RolloutSpec){
		"promoted by itself":      auto,
		"canary without steps":    canary(),
		"canary that goes before": canary(weight(10), pause("")),
		"other Services": bg(func(b *rollouts.BlueGreenStrategy) {
			b.ActiveService, b.PreviewService = b.PreviewService, b.ActiveService
		}),
		"a return that waits for nobody": rollbackWindow(1),
	} {
		if got := rightsAfter(change); len(got) != 1 || got[0].Right != engine.RightPromote || got[0].Field == "" {
			t.Errorf("%s: %+v, want the right to promote", name, got)
		}
	}
	for name, change := range map[string]func(*rollouts.RolloutSpec){
		"another delay":         bg(keptFor(5)),
		"canary that waits too": canary(pause(""), weight(10)),
		"a window of 0":         rollbackWindow(0),
	} {
		if got := rightsAfter(change); got != nil {
			t.Errorf("%s: %+v, want none", name, got)
		}
	}
	before := w.Rollout
	w.must(w.Promote(false))
	if got := engine.RightsToRestate(before, w.Rollout); len(got) != 1 || got[0].Right != engine.RightPromote || got[0].Field != "status.blueGreen.scaleUpPreviewCheckPoint" {
		t.Errorf("to promote by a change of the status: %+v", got)
	}
	if got := rightsAfter(auto); got != nil {
		t.Errorf("once promoted: %+v", got)
	}
}

func rollbackWindow(revisions int32) func(*rollouts.RolloutSpec) {
	return func(spec *rollouts.RolloutSpec) { spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: revisions} }
}

// TestAWiderWindowEndsTheWait is why to widen it needs the right to promote: a return that waits, since it was none within
// the window when it began, is let through as soon as it is one. A window that is as wide already, or for canary, which
// looks at it with the template alone, changes nothing.
func TestAWiderWindowEndsTheWait(t *testing.T) {
	w := serving(t, blueGreen(2, manual, keptFor(0)))
	for _, tag := range []string{"v2", "v3"} {
		w.Sleep(time.Minute)
		w.update(tag)
		w.must(w.Promote(false))
		w.settle()
	}
	w.edit("a window for v2 alone", rollbackWindow(1))
	w.update("v1")
	w.is(rollouts.RolloutPhasePaused, "BlueGreenPause")
	before := w.Rollout
	w.edit("a window for v1", rollbackWindow(2))
	if got := engine.RightsToEdit(before, w.Rollout); len(got) != 1 || got[0].Right != engine.RightPromote || got[0].Field != "spec.rollbackWindow" {
		t.Errorf("needs %+v", got)
	}
	if got := engine.RightsToEdit(w.Rollout, before); got != nil {
		t.Errorf("a narrower window needs %+v", got)
	}
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.leads("v1", "v1")
	if got := engine.RightsToEdit(w.Rollout, before); got != nil {
		t.Errorf("with no update in flight: %+v", got)
	}

	c := deployed(t, rollout(2, weight(50), pause("")))
	c.update("v2")
	before = c.Rollout
	c.edit("a window", rollbackWindow(5))
	if got := engine.RightsToEdit(before, c.Rollout); got != nil {
		t.Errorf("canary needs %+v", got)
	}
	c.settle()
	c.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
}

func TestExplainBlueGreen(t *testing.T) {
	w := serving(t, blueGreen(2, manual))
	w.update("v2")
	if b := w.blockers("Paused")[0]; b.Next != "kubectl sluice promote demo -n default" || b.Until != nil {
		t.Errorf("%+v", b)
	}
	w.edit("in time", bg(func(b *rollouts.BlueGreenStrategy) {
		b.AutoPromotionEnabled, b.AutoPromotionSeconds = ptr.To(true), ptr.To[int32](60)
	}))
	w.Reconcile()
	if b := w.blockers("TimedPause")[0]; b.Until == nil || b.Next == "" {
		t.Errorf("%+v", b)
	}
	w.must(w.Promote(true))
	w.blockers("")
}

// TestStrategyChangesAtAnyTime: from and to canary, at any point of an update. Clients of the active Service are never
// led to one revision alone whose pods are then taken, the Services are given back, and all comes to an end.
func TestStrategyChangesAtAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlueGreenMachine(t)
		m.edits = func(t *rapid.T) {
			n, b, list := anyReplicas.Draw(t, "replicas"), anyBlueGreen.Draw(t, "blueGreen"), anySteps.Draw(t, "steps")
			strategy := rollouts.RolloutStrategy{BlueGreen: b}
			if rapid.Bool().Draw(t, "canary") {
				strategy = bounded(rollout(1, list...), "25%", "25%").Spec.Strategy
			}
			resized := rapid.Bool().Draw(t, "resized")
			m.Edit("strategy", func(spec *rollouts.RolloutSpec) {
				spec.Strategy = strategy
				if resized {
					scale(n)(spec)
				}
			})
		}
		m.OnLead = func(before, after *corev1.Service) {
			if m.Rollout.Spec.Strategy.BlueGreen != nil {
				m.checkLead(before, after)
			}
		}
		m.OnWrite = func(before, after *appsv1.ReplicaSet) {
			if before == nil || after == nil || m.LeadsTo("demo-active") != after.Labels[rollouts.PodTemplateHashLabel] || m.spared(before) {
				return
			}
			managed := m.Service("demo-active").Annotations[rollouts.ManagedByRolloutAnnotation] == "demo"
			if was, now := *before.Spec.Replicas, *after.Spec.Replicas; managed && now < min(was, *m.Rollout.Spec.Replicas) {
				m.fail("%s is cut from %d to %d while clients are led to it alone", after.Name, was, now)
			}
		}
		m.run(false)
		m.healServices()
		m.settle()
		st := &m.Rollout.Status
		if canary := m.Rollout.Spec.Strategy.Canary != nil; canary != (st.BlueGreen == nil) || canary != (st.Canary != nil) {
			m.fail("the status speaks of another strategy: %+v", st)
		} else if canary && m.LeadsTo("demo-active") != "" && m.Service("demo-active").Annotations[rollouts.ManagedByRolloutAnnotation] == "demo" && !m.Rollout.Spec.Paused {
			m.fail("the Service was not given back")
		}
	})
}
