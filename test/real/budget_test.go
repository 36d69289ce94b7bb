// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"slices"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// A HorizontalPodAutoscaler raises a Rollout to its minReplicas, for which it needs no metrics, in mid-update too.
func TestAutoscalerRaisesToItsMinimum(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 2, weight(50), pause()))
	s.reachable(url)
	s.load(url)
	s.colour("yellow")
	s.pausedAt(1)
	_, err := s.Host.AutoscalingV2().HorizontalPodAutoscalers(s.namespace).Create(s.ctx(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: application},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "sluice.dev/v1alpha1", Kind: "Rollout", Name: application},
			MinReplicas:    ptr.To[int32](4), MaxReplicas: 6,
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.standing("blue", 2, "yellow", 2)
	s.pausedAt(1)
	s.promote()
	s.phase(v1alpha1.RolloutPhaseHealthy)
}

// A restart evicts pods one after another, as the PodDisruptionBudget allows, and no request fails. No pod may be
// missing here, so a spare one comes first: with it there are four.
func TestRestartHonoursTheBudget(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 3))
	s.reachable(url)
	traffic := s.load(url)
	s.budget(4, 3)
	before := s.uids()
	s.kubectl("sluice", "restart", application)
	s.eventuallyExplained("EvictionRefused")
	if after := s.uids(); len(before) != 3 || len(shared(before, after)) != 3 {
		t.Errorf("pods were replaced against the budget: %v, then %v", before, after)
	}
	_, err := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Patch(s.ctx(), application, types.MergePatchType, []byte(`{"spec":{"minAvailable":3}}`), metav1.PatchOptions{})
	s.must(err)
	_, err = cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		if cluster.PodsByTag(pods)["blue"] == 3 && len(pods) == 3 && len(shared(before, uidsOf(pods))) == 0 {
			return ""
		}
		return "not all pods have been replaced"
	})
	s.must(err)
	s.phase(v1alpha1.RolloutPhaseHealthy)
	s.only(traffic, "blue")
}

// A node that is drained evicts pods, as the PodDisruptionBudget allows: done to each pod of an update that waits at
// a pause, that costs no request, and the update stays where it is, with the same share for the canary.
func TestEvictionInMidCanary(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(slowly(newRollout("blue", 4, weight(25), pause())))
	s.reachable(url)
	traffic := s.load(url)
	s.colour("yellow")
	s.pausedAt(1)
	s.standing("blue", 3, "yellow", 1)
	s.budget(3, 4)
	before := s.live()
	refused := 0
	for uid, name := range before {
		s.eventually("the eviction of "+name, func(ctx context.Context) bool {
			err := s.Host.PolicyV1().Evictions(s.namespace).Evict(ctx, &policyv1.Eviction{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}, DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}})
			if apierrors.IsTooManyRequests(err) {
				refused++
				return false
			}
			s.must(err)
			return true
		})
	}
	if refused == 0 {
		t.Error("the budget never refused anything, so that it was of no account")
	}
	_, err := cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		if got := cluster.PodsByTag(pods); got["blue"] == 3 && got["yellow"] == 1 && len(pods) == 4 && len(shared(before, uidsOf(pods))) == 0 {
			return ""
		}
		return "not all pods have been replaced"
	})
	s.must(err)
	s.pausedAt(1)
	s.promote()
	s.phase(v1alpha1.RolloutPhaseHealthy)
	s.only(traffic, "yellow")
}

// budget asks that so many pods are available at least, and waits until that is known, with those that are healthy.
func (s *scenario) budget(available, healthy int32) {
	s.Helper()
	_, err := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Create(s.ctx(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: application},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(available)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": application}}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.eventually("the budget to be known", func(ctx context.Context) bool {
		budget, err := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Get(ctx, application, metav1.GetOptions{})
		return err == nil && budget.Status.ObservedGeneration == budget.Generation && budget.Status.CurrentHealthy == healthy
	})
}

// uids are the names of the pods that there are, by their UIDs.
func (s *scenario) uids() map[types.UID]string {
	s.Helper()
	pods, err := s.Pods(s.namespace, "app="+application).Now(s.ctx())
	s.must(err)
	return uidsOf(pods)
}

// live are those that are not on their way out.
func (s *scenario) live() map[types.UID]string {
	s.Helper()
	pods, err := s.Pods(s.namespace, "app="+application).Now(s.ctx())
	s.must(err)
	return uidsOf(slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil }))
}

func uidsOf(pods []*corev1.Pod) map[types.UID]string {
	uids := map[types.UID]string{}
	for _, pod := range pods {
		uids[pod.UID] = pod.Name
	}
	return uids
}

// shared are those in both.
func shared(a, b map[types.UID]string) []types.UID {
	var both []types.UID
	for uid := range a {
		if _, is := b[uid]; is {
			both = append(both, uid)
		}
	}
	return both
}
