// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// What moves pods while something else is going on: changes of size, of version, restarts.

// bounded sets both bounds of an update.
func bounded(r *v1alpha1.Rollout, surge, unavailable intstr.IntOrString) *v1alpha1.Rollout {
	r.Spec.Strategy.Canary.MaxSurge, r.Spec.Strategy.Canary.MaxUnavailable = &surge, &unavailable
	return r
}

// A change of replicas in the middle of a rolling update stays within maxSurge, also while the new version does not
// work.
// Reference: 3.1 TestRolloutWithMaxSurgeScalingDuringUpdate
// Reference: 3.1 TestRolloutScalingDuringUpdate
func TestScalingDuringARollingUpdate(t *testing.T) {
	s := together(t)
	r := s.deploy(bounded(newRollout("grows", 4), intstr.FromInt32(2), intstr.FromInt32(0)))
	observer := s.observe(r, cluster.Bounds{MaxPods: 6, MinAvailable: 4})
	s.change(r.Name, held("two"))
	s.awaitSizes(r, map[string]int32{"one": 4, "two": 2})
	observer.SetBounds(cluster.Bounds{MaxPods: 10, MinAvailable: 4})
	s.kubectl("scale", resource, r.Name, "--replicas=8")
	s.await(r.Name, func(r *v1alpha1.Rollout) string { return unless(r.Status.Replicas == 10, "ten pods") })
	s.kubectl("scale", resource, r.Name, "--replicas=4")
	s.await(r.Name, func(r *v1alpha1.Rollout) string { return unless(r.Status.Replicas <= 6, "six pods at most") })
	s.awaitPods(r, map[string]int{"one": 4, "not available": 2})
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Template.Spec.SchedulingGates = nil })
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitPods(r, map[string]int{"two": 4})
}

// A lower weight takes pods of the new version only when those of the stable one are there.
// Reference: 3.1 TestReduceWeightAndHonorMaxUnavailable
func TestALowerWeightHonoursTheBounds(t *testing.T) {
	s := together(t)
	r := s.deploy(bounded(newRollout("lowered", 3, weight(100), pause(), weight(0), pause(), weight(100), pause()), intstr.FromInt32(2), intstr.FromInt32(0)))
	s.observe(r, cluster.Bounds{MaxPods: 5, MinAvailable: 3})
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.awaitPods(r, map[string]int{"two": 3})
	s.must(s.perform(r.Name, "promote"))
	s.atPause(r.Name, 3)
	s.awaitPods(r, map[string]int{"one": 3})
	s.must(s.perform(r.Name, "promote"))
	s.atPause(r.Name, 5)
	s.awaitPods(r, map[string]int{"two": 3})
	s.must(s.perform(r.Name, "abort"))
	s.awaitPods(r, map[string]int{"one": 3})
}

// A bad version is Degraded and takes no stable pod, nor does the next bad one; a first version that never worked is no
// stable one, and its successor stays within maxSurge.
// Reference: 3.2 TestRolloutGoodToBadUpdate
// Reference: 3.2 TestRolloutBadToBadUpdate
// Reference: 3.2 TestRolloutBadToGoodUpdate
func TestBadVersions(t *testing.T) {
	for name, firstWorks := range map[string]bool{"good-first": true, "bad-first": false} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := bounded(newRollout(name, 4), intstr.FromInt32(1), intstr.FromInt32(0))
			r.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
			if firstWorks {
				r = s.deploy(r)
				s.observe(r, cluster.Bounds{MaxPods: 5, MinAvailable: 4})
			} else {
				held("one")(r)
				s.create(r)
				r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
				s.observe(r, cluster.Bounds{MaxPods: 5})
			}
			for _, bad := range []string{"two", "three"} {
				s.change(r.Name, held(bad))
				s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
			}
			if firstWorks {
				s.awaitSizes(r, map[string]int32{"one": 4, "two": 0, "three": 1})
			}
			s.change(r.Name, func(r *v1alpha1.Rollout) {
				r.Spec.Template.Spec.Containers[0].Image, r.Spec.Template.Spec.SchedulingGates = image("four"), nil
			})
			s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
			s.awaitPods(r, map[string]int{"four": 4})
		})
	}
}

// A full promotion skips what is left, also after an abort.
// Reference: 3.2 TestCanaryPromoteFull
func TestPromoteFullAfterAnAbort(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("overruled", 2, weight(50), pause(), weight(60), pause()))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.must(s.perform(r.Name, "promote"))
	s.atPause(r.Name, 3)
	s.must(s.perform(r.Name, "abort"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.must(s.perform(r.Name, "promote full"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitPods(r, map[string]int{"two": 2})
}

// restart asks for a restart now.
func (s *scenario) restart(name string) {
	s.Helper()
	_, err := s.rollouts().Restart(s.ctx(), name, &v1alpha1.Restart{}, metav1.CreateOptions{})
	s.must(err)
}

// awaitRestarted waits until no pod of before is left and the restart is over.
func (s *scenario) awaitRestarted(r *v1alpha1.Rollout, before map[string]bool) {
	s.Helper()
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Spec.RestartAt != nil && r.Spec.RestartAt.Equal(r.Status.RestartedAt), "the end of the restart")
	})
	for uid := range s.podUIDs(r, "one") {
		if before[uid] {
			s.Errorf("pod %s was not replaced", uid)
		}
	}
}

// pastSecond returns when the pods that there are were made before this second, in which a restart counts.
func (s *scenario) pastSecond() {
	s.Helper()
	until := time.Now().Truncate(time.Second).Add(2 * time.Second)
	s.eventually("the next second", func(context.Context) bool { return time.Now().After(until) })
}

// The only pod is replaced before it goes: its successor comes first.
func TestRestartOfASinglePod(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("single", 1))
	s.observe(r, cluster.Bounds{MaxPods: 2, MinAvailable: 1})
	before := s.podUIDs(r, "one")
	s.pastSecond()
	s.restart(r.Name)
	s.awaitRestarted(r, before)
	s.awaitPods(r, map[string]int{"one": 1})
}

// A restart replaces at most maxUnavailable pods at a time, at a pause too, and is no matter of the deadline.
// Reference: 3.2 TestRolloutRestart
// Reference: 3.2 TestCompleteRolloutRestart
func TestRestartAtOnceAsManyAsMayBeMissing(t *testing.T) {
	s := together(t)
	r := bounded(newRollout("restarted", 4), intstr.FromInt32(0), intstr.FromString("75%"))
	r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](2), true
	r = s.deploy(r)
	s.pastDeadline(r)
	never := s.neverIn(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.observe(r, cluster.Bounds{MaxPods: 4, MinAvailable: 1})
	before := s.podUIDs(r, "one")
	s.pastSecond()
	s.restart(r.Name)
	s.awaitRestarted(r, before)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	never()
}

// A PodDisruptionBudget holds a restart up for as long as it allows none, and nothing is deleted past it.
// Reference: 3.2 TestRolloutPDBRestart
func TestRestartWaitsForTheBudget(t *testing.T) {
	s := together(t)
	r := s.deploy(bounded(newRollout("budgeted", 2), intstr.FromInt32(1), intstr.FromString("100%")))
	budgets := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace)
	two := intstr.FromInt32(2)
	_, err := budgets.Create(s.ctx(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: r.Name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &two, Selector: r.Spec.Selector},
	}, metav1.CreateOptions{})
	s.must(err)
	_, err = cluster.Await(s.ctx(), cluster.SourceOf[*policyv1.PodDisruptionBudget]("budget", budgets, metav1.ListOptions{}),
		func(found []*policyv1.PodDisruptionBudget) string {
			return unless(len(found) == 1 && found[0].Status.CurrentHealthy == 2, "two healthy pods")
		})
	s.must(err)
	observer := s.observe(r, cluster.Bounds{MaxPods: 3, MinAvailable: 2})
	before := s.podUIDs(r, "one")
	s.pastSecond()
	s.restart(r.Name)
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Status.Phase == v1alpha1.RolloutPhaseProgressing && r.Status.Message != "", "a word of the restart")
	})
	if tally, err := observer.Tally(); err != nil || len(tally.Gone) > 0 {
		t.Errorf("pods that are gone despite the budget: %v; %v", tally.Gone, err)
	}
	observer.SetBounds(cluster.Bounds{MaxPods: 3, MinAvailable: 0})
	s.must(budgets.Delete(s.ctx(), r.Name, metav1.DeleteOptions{}))
	s.awaitRestarted(r, before)
}

// A PodDisruptionBudget in percent counts what the ReplicaSets want: the disruption controller looks past a ReplicaSet
// only where a Deployment controls it. So the surge of an update counts, and pods that do not run do as well.
func TestABudgetInPercentCountsWhatReplicaSetsWant(t *testing.T) {
	s := together(t)
	r := s.deploy(bounded(newRollout("percent", 4, weight(50), pause()), intstr.FromInt32(2), intstr.FromInt32(0)))
	budgets := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace)
	half := intstr.FromString("50%")
	_, err := budgets.Create(s.ctx(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: r.Name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &half, Selector: r.Spec.Selector},
	}, metav1.CreateOptions{})
	s.must(err)
	awaitBudget := func(expected, desired, healthy int32) {
		t.Helper()
		_, err := cluster.Await(s.ctx(), cluster.SourceOf[*policyv1.PodDisruptionBudget]("budget", budgets, metav1.ListOptions{}),
			func(found []*policyv1.PodDisruptionBudget) string {
				st := found[0].Status
				return unless(st.ExpectedPods == expected && st.DesiredHealthy == desired && st.CurrentHealthy == healthy,
					fmt.Sprintf("%d expected, %d desired and %d healthy pods; there are %d, %d and %d", expected, desired, healthy, st.ExpectedPods, st.DesiredHealthy, st.CurrentHealthy))
			})
		s.must(err)
	}
	awaitBudget(4, 2, 4)
	// A version that never runs leaves its surge pending beside the four.
	s.change(r.Name, broken)
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Status.Replicas == 6, fmt.Sprintf("6 pods, two of them surge; there are %d", r.Status.Replicas))
	})
	awaitBudget(6, 3, 4)
	s.must(s.perform(r.Name, "abort"))
	_, err = s.patch(r.Name, `{"spec":{"replicas":8}}`)
	s.must(err)
	awaitBudget(8, 4, 8)
}

// Quantities are accepted in every format, and a volume whose content is called items is no list.
// Reference: 3.2 TestContainerResourceFormats
// Reference: 3.2 TestRolloutPodVolumesItemsSpec
func TestTemplatesThatWereTroubleElsewhere(t *testing.T) {
	s := together(t)
	r := newRollout("formats", 1)
	r.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
		Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
	}}}}
	object := manifest(r)
	container := object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
	for _, cpu := range []any{0.001, "0.001", "1m"} {
		container["resources"] = map[string]any{"requests": map[string]any{"cpu": cpu}}
		s.must(s.run(encode(object), "apply", "-f", "-").Err())
		s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
		for _, pod := range s.podsOf(s.get(r.Name), "one") {
			if got := pod.Spec.Containers[0].Resources.Requests.Cpu(); got.Cmp(quantity.MustParse("1m")) != 0 {
				t.Errorf("%v became %s", cpu, got)
			}
		}
	}
	if got := s.get(r.Name).Status.Revision; got != 1 {
		t.Errorf("the same quantity, written otherwise, made revision %d", got)
	}
}
