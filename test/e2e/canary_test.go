// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// newServed is a canary with a canaryService and a stableService.
func newServed(name string, replicas int32, steps ...v1alpha1.CanaryStep) *v1alpha1.Rollout {
	r := newRollout(name, replicas, steps...)
	r.Spec.Strategy.Canary.CanaryService, r.Spec.Strategy.Canary.StableService = name+"-canary", name+"-stable"
	return r
}

// canaryService and stableService lead to their versions during an update, to the stable one otherwise, and never to
// none while there are pods: not at the end of an update, not at an abort.
// Reference: 3.1 TestCanaryScaleDownOnAbortNoTrafficRouting
func TestCanaryServices(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newServed("served", 4, weight(50), pause()))
	leads := func(canary, stable string) {
		t.Helper()
		s.awaitLed(r.Name+"-canary", s.hashOf(r, canary))
		s.awaitLed(r.Name+"-stable", s.hashOf(r, stable))
	}
	leads("one", "one")
	s.neverEmpty(r, r.Name+"-canary", r.Name+"-stable")
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	leads("two", "one")
	s.must(s.perform(r.Name, "abort"))
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{"one": 4}})
	leads("one", "one")
	s.must(s.perform(r.Name, "retry"))
	s.atPause(r.Name, 1)
	leads("two", "one")
	s.must(s.perform(r.Name, "promote"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	leads("two", "two")
	s.awaitPods(r, map[string]int{"two": 4})
}

// canaryMetadata and stableMetadata are put on pods in place: also when they change, and swapped when the canary becomes
// stable, without a pod made anew.
// Reference: 3.1 TestEphemeralMetadata
func TestCanaryMetadata(t *testing.T) {
	s := together(t)
	r := newRollout("labelled", 2, weight(50), pause())
	r.Spec.Strategy.Canary.CanaryMetadata, r.Spec.Strategy.Canary.StableMetadata = role("canary"), role("stable")
	r = s.deploy(r)
	s.awaitRoles(r, map[string]int{"one stable": 2})
	first := s.podUIDs(r, "one")
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.awaitRoles(r, map[string]int{"one stable": 1, "two canary": 1})
	canaries := s.podUIDs(r, "two")
	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.Strategy.Canary.CanaryMetadata = &v1alpha1.PodTemplateMetadata{Labels: map[string]string{"tried": "yes"}}
	})
	s.awaitRoles(r, map[string]int{"one stable": 1, "two ": 1})
	s.atPause(r.Name, 1) // Pods are changed before the status says so.
	s.must(s.perform(r.Name, "promote"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitRoles(r, map[string]int{"two stable": 2})
	s.sameUIDs(r, "two", canaries)
	second := s.podUIDs(r, "two")
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Strategy.Canary.StableMetadata = role("steady") })
	s.awaitRoles(r, map[string]int{"two steady": 2})
	s.sameUIDs(r, "two", second)
	if len(first) != 2 {
		t.Errorf("%d pods of the first version", len(first))
	}
	for _, pod := range s.podsOf(r, "two") {
		if _, has := pod.Labels["tried"]; has {
			t.Errorf("pod %s still has a label of the canary: %v", pod.Name, pod.Labels)
		}
	}
}

// podsOf are the pods of a version.
func (s *scenario) podsOf(r *v1alpha1.Rollout, tag string) (found []*corev1.Pod) {
	s.Helper()
	pods, err := s.Pods(s.namespace, r.Status.Selector).Now(s.ctx())
	s.must(err)
	for _, pod := range pods {
		if cluster.Tag(&pod.Spec) == tag && pod.DeletionTimestamp == nil {
			found = append(found, pod)
		}
	}
	return found
}

// antiAffinity keeps new pods off the nodes of the stable version; pods of the first version have none.
func TestAntiAffinity(t *testing.T) {
	for name, affinity := range map[string]*v1alpha1.AntiAffinity{
		"preferred": {PreferredDuringSchedulingIgnoredDuringExecution: &v1alpha1.PreferredAntiAffinity{Weight: 7}},
		"required":  {RequiredDuringSchedulingIgnoredDuringExecution: &v1alpha1.RequiredAntiAffinity{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := newRollout(name, 1, weight(100), pause())
			r.Spec.Strategy.Canary.AntiAffinity = affinity
			r = s.deploy(r)
			for _, pod := range s.podsOf(r, "one") {
				if pod.Spec.Affinity != nil {
					t.Errorf("a pod of the first version has %+v", pod.Spec.Affinity)
				}
			}
			stable := s.hashOf(r, "one")
			s.setTag(r.Name, "two")
			s.eventually("a pod of the new version", func(context.Context) bool { return len(s.podsOf(r, "two")) > 0 })
			for _, pod := range s.podsOf(r, "two") {
				if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
					t.Errorf("pod %s has no anti-affinity", pod.Name)
					continue
				}
				anti := pod.Spec.Affinity.PodAntiAffinity
				terms := anti.RequiredDuringSchedulingIgnoredDuringExecution
				for _, weighted := range anti.PreferredDuringSchedulingIgnoredDuringExecution {
					if weighted.Weight == 7 {
						terms = append(terms, weighted.PodAffinityTerm)
					}
				}
				if len(terms) != 1 || terms[0].TopologyKey != corev1.LabelHostname || !selectsHash(terms[0], stable) {
					t.Errorf("the anti-affinity of %s is %+v", pod.Name, anti)
				}
			}
		})
	}
}

func selectsHash(term corev1.PodAffinityTerm, hash string) bool {
	if term.LabelSelector == nil {
		return false
	}
	for _, e := range term.LabelSelector.MatchExpressions {
		if e.Key == hashLabel && len(e.Values) == 1 && e.Values[0] == hash {
			return true
		}
	}
	return term.LabelSelector.MatchLabels[hashLabel] == hash
}

// With replicaProgressThreshold a step is done when that many of its pods are available.
func TestReplicaProgressThreshold(t *testing.T) {
	s := together(t)
	r := newRollout("enough", 4, weight(50), pause())
	r.Spec.Strategy.Canary.ReplicaProgressThreshold = &v1alpha1.ReplicaProgressThreshold{Type: v1alpha1.ProgressThresholdPods, Value: 1}
	r = s.deploy(r)
	s.change(r.Name, held("two"))
	s.awaitPods(r, map[string]int{"one": 3, "not available": 2})
	if step := ptr.Deref(s.get(r.Name).Status.CurrentStepIndex, -1); step != 0 {
		t.Fatalf("at step %d with no new pod available", step)
	}
	s.letGoOne(s.podsOf(r, "two")[0])
	s.atPause(r.Name, 1)
	s.awaitPods(r, map[string]int{"one": 2, "two": 1, "not available": 1})
}

// Going back to a recent version takes no steps; to one further back it takes all of them.
// Reference: 3.4 TestRollbackAnalysisWithinWindow
// Reference: 3.4 TestRollbackAnalysisOutsideWindow
func TestRollbackWindow(t *testing.T) {
	for name, tc := range map[string]struct {
		versions []string
		pauses   bool
	}{
		"within":  {[]string{"two", "three", "four"}, false},
		"outside": {[]string{"two", "three", "four", "five"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := newRollout(name, 2, weight(50), pause())
			r.Spec.RollbackWindow = &v1alpha1.RollbackWindow{Revisions: 2}
			r = s.deploy(r)
			for _, tag := range tc.versions {
				s.setTag(r.Name, tag)
				s.atPause(r.Name, 1)
				s.must(s.perform(r.Name, "promote"))
				s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
			}
			never := s.neverIn(r.Name, v1alpha1.RolloutPhasePaused)
			s.setTag(r.Name, "two")
			if !tc.pauses {
				s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
				never()
				s.awaitPods(r, map[string]int{"two": 2})
				return
			}
			s.atPause(r.Name, 1)
			s.awaitPods(r, map[string]int{"two": 1, tc.versions[len(tc.versions)-1]: 1})
		})
	}
}

// A change of replicas at a pause keeps the proportion of the step; so it does while paused by hand.
// Reference: 3.1 TestRolloutScalingWhenPaused
func TestScalingWhenPaused(t *testing.T) {
	for name, byHand := range map[string]bool{"at-a-pause": false, "by-hand": true} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := s.deploy(newRollout(name, 1, weight(25), pause()))
			s.setTag(r.Name, "two")
			s.atPause(r.Name, 1)
			s.awaitPods(r, map[string]int{"one": 1, "two": 1})
			if byHand {
				s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Paused = true })
			}
			s.kubectl("scale", resource, r.Name, "--replicas=8")
			s.awaitPods(r, map[string]int{"one": 6, "two": 2})
			s.kubectl("scale", resource, r.Name, "--replicas=4")
			s.awaitPods(r, map[string]int{"one": 3, "two": 1})
		})
	}
}

// At a step a Rollout can be scaled to zero and back.
func TestScaleToZeroAndBackAtAStep(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("zero", 4, weight(50), pause()))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.kubectl("scale", resource, r.Name, "--replicas=0")
	s.awaitPods(r, map[string]int{})
	s.kubectl("scale", resource, r.Name, "--replicas=4")
	s.awaitPods(r, map[string]int{"one": 2, "two": 2})
	s.atPause(r.Name, 1)
}

// Steps that change in the middle of an update begin anew, with the same two versions.
func TestStepsThatChangeInMidUpdate(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("edited", 4, weight(50), pause()))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.observe(r, cluster.Bounds{MaxPods: 5, MinAvailable: 3})
	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.Strategy.Canary.Steps = []v1alpha1.CanaryStep{weight(25), pause(), weight(75), pause()}
	})
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 25, Pods: map[string]int{"one": 3, "two": 1}})
	s.must(s.perform(r.Name, "promote"))
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 3, Weight: 75, Pods: map[string]int{"one": 1, "two": 3}})
}

// A new version in the middle of an update drops the intermediate one, and never the stable one.
// Reference: 3.1 TestCanaryWithPausedRollout
func TestIntermediateVersionIsDropped(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("between", 3, weight(20), pause()))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.setTag(r.Name, "three")
	s.atPause(r.Name, 1)
	s.awaitPods(r, map[string]int{"one": 3, "three": 1})
}

// Template and replicas may change in one write, also at a pause.
// Reference: 3.2 TestSpecAndReplicaChangeSameTime
func TestTemplateAndReplicasInOneWrite(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("both", 2, weight(10), pauseFor(2), weight(20), pauseFor(1)))
	for _, next := range []struct {
		tag      string
		replicas int32
	}{{"two", 3}, {"three", 4}} {
		s.change(r.Name, func(r *v1alpha1.Rollout) {
			r.Spec.Replicas = &next.replicas
			r.Spec.Template.Spec.Containers[0].Image = image(next.tag)
		})
		s.await(r.Name, func(r *v1alpha1.Rollout) string {
			return unless(len(r.Status.PauseConditions) > 0, "a pause")
		})
	}
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitCounts(r.Name, [5]int32{4, 4, 4, 4, 4})
}

// Degraded by the deadline is left by itself when pods get ready after all, and a pause is no deadline.
// Reference: 3.1 TestCanaryProgressDeadlineExceededWithPause
// Reference: 3.2 TestRolloutPauseDurationGreaterThanProgressDeadlineSeconds
func TestDeadlineAndPause(t *testing.T) {
	s := together(t)
	r := newRollout("late", 3, weight(20), pause(), weight(67))
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
	held("one")(r)
	s.create(r)
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.letGo(r, "one")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.change(r.Name, held("two"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.letGo(r, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.awaitPods(r, map[string]int{"one": 3, "two": 1})
	never := s.neverIn(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.Template.Spec.Containers[0].Image, r.Spec.Template.Spec.SchedulingGates = image("three"), nil
		r.Spec.Strategy.Canary.Steps[1] = pauseFor(5)
	})
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	never()
	s.awaitPods(r, map[string]int{"three": 3})
}

// Abort, retry, and on to Healthy when the pause is over; the events tell of it.
// Reference: 3.2 TestRolloutAbortRetryPromote
func TestAbortRetryAndOn(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("retried", 1, weight(50), pauseFor(3)))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.awaitPods(r, map[string]int{"one": 1, "two": 1})
	s.must(s.perform(r.Name, "abort"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.must(s.perform(r.Name, "retry"))
	s.atPause(r.Name, 1)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitPods(r, map[string]int{"two": 1})
	s.awaitReasons(r.Name, "NewReplicaSetCreated", "RolloutPaused", "RolloutAborted", "RolloutCompleted")
}

// A Rollout that is Healthy and paused by hand is Paused, and says so once.
// Reference: 3.1 TestCanaryWithSpecPause
func TestPausedByHandWhileHealthy(t *testing.T) {
	s := together(t)
	r := newRollout("resting", 3, weight(20))
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
	r = s.deploy(r)
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Paused = true })
	paused := s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.pastDeadline(r)
	if after := s.get(r.Name); after.ResourceVersion != paused.ResourceVersion {
		t.Errorf("it was written again: %+v", after.Status)
	}
}
