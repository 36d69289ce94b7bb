// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// What is installed.
const (
	systemNamespace = "sluice-system"
	serverPod       = "sluice-apiserver-0"
	serverSet       = "sluice-apiserver"
)

// restarted waits until the pod of the server is another one than before, and ready.
func (s *scenario) restarted(before types.UID) *corev1.Pod {
	s.Helper()
	found, err := cluster.Await(s.ctx(), s.Pods(systemNamespace, "app.kubernetes.io/component=apiserver"), func(pods []*corev1.Pod) string {
		switch {
		case len(pods) != 1:
			return "there is not one pod"
		case pods[0].UID == before:
			return "it is the same pod"
		case !cluster.Ready(pods[0]):
			return "it is not ready"
		}
		return ""
	})
	s.must(err)
	return found[0]
}

func (s *scenario) server() *corev1.Pod {
	s.Helper()
	pod, err := s.Host.CoreV1().Pods(systemNamespace).Get(s.ctx(), serverPod, metav1.GetOptions{})
	s.must(err)
	return pod
}

// served waits until Rollouts can be read again.
func (s *scenario) served() {
	s.Helper()
	s.eventually("the API of Rollouts", func(ctx context.Context) bool {
		_, err := s.rollouts().List(ctx, metav1.ListOptions{})
		return err == nil
	})
}

// interrupted has an update stand at a pause under load, does something to the cluster, and goes on: no request
// fails, no step is lost or skipped, and the update ends.
func interrupted(t *testing.T, disrupt func(*scenario)) {
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 4, weight(25), pause(), weight(50), pause(), weight(75)))
	s.reachable(url)
	traffic := s.load(url)
	s.colour("yellow")
	s.pausedAt(1)
	before := s.get()
	disrupt(s)
	s.served()
	after := s.pausedAt(1)
	if after.UID != before.UID || after.Status.Revision != before.Status.Revision || after.Status.CurrentPodHash != before.Status.CurrentPodHash {
		t.Errorf("another Rollout came back: revision %d, then %d", before.Status.Revision, after.Status.Revision)
	}
	s.promote()
	s.pausedAt(3)
	s.promote()
	s.phase(v1alpha1.RolloutPhaseHealthy)
	s.only(traffic, "yellow")
}

func TestServerIsKilled(t *testing.T) {
	interrupted(t, func(s *scenario) {
		before := s.server()
		s.must(s.Host.CoreV1().Pods(systemNamespace).Delete(s.ctx(), serverPod, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
		s.restarted(before.UID)
	})
}

func TestContainerdRestarts(t *testing.T) {
	interrupted(t, func(s *scenario) {
		s.must(s.Kill(s.ctx(), cluster.Containerd))
		s.must(s.Cluster.Start(s.ctx(), cluster.Containerd))
		s.nodeReady()
	})
}

func TestKubeletRestarts(t *testing.T) {
	interrupted(t, func(s *scenario) {
		s.must(s.Kill(s.ctx(), cluster.Kubelet))
		s.must(s.Cluster.Start(s.ctx(), cluster.Kubelet))
		s.nodeReady()
	})
}

// nodeReady waits until the node says so since now.
func (s *scenario) nodeReady() {
	s.Helper()
	began := metav1.Now().Rfc3339Copy()
	s.eventually("the node", func(ctx context.Context) bool {
		nodes, err := s.Host.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil || len(nodes.Items) != 1 {
			return false
		}
		for _, condition := range nodes.Items[0].Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue && began.Before(&condition.LastHeartbeatTime)
			}
		}
		return false
	})
}

// TestServerIsUpgraded gives the StatefulSet a newer image in mid-update, and in another one that which it had.
func TestServerIsUpgraded(t *testing.T) {
	s := newScenario(t)
	was := s.server().Spec.Containers[0].Image
	for _, image := range []string{newerImage, was} {
		interrupted(t, func(s *scenario) { s.upgrade(image) })
	}
}

// upgrade gives the server another image, and waits until it runs.
func (s *scenario) upgrade(image string) {
	s.Helper()
	before := s.server()
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"sluice-apiserver","image":"` + image + `"}]}}}}`
	_, err := s.Host.AppsV1().StatefulSets(systemNamespace).Patch(s.ctx(), serverSet, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
	if after := s.restarted(before.UID); after.Spec.Containers[0].Image != image {
		s.Errorf("the server runs %s", after.Spec.Containers[0].Image)
	}
}

// newerImage is another version of the server, for upgrades.
const newerImage = "sluice.dev/sluice-apiserver:newer"

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
	_, err = cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		if got := cluster.PodsByTag(pods); got["blue"] != 2 || got["yellow"] != 2 {
			return "the pods are not 2 of blue and 2 of yellow"
		}
		return ""
	})
	s.must(err)
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
	_, err := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Create(s.ctx(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: application},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(4)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": application}}},
	}, metav1.CreateOptions{})
	s.must(err)
	before := s.uids()
	s.eventually("the budget to be known", func(ctx context.Context) bool {
		budget, err := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Get(ctx, application, metav1.GetOptions{})
		return err == nil && budget.Status.ObservedGeneration == budget.Generation && budget.Status.CurrentHealthy == 3
	})
	s.kubectl("sluice", "restart", application)
	s.eventuallyExplained("EvictionRefused")
	if after := s.uids(); len(before) != 3 || len(shared(before, after)) != 3 {
		t.Errorf("pods were replaced against the budget: %v, then %v", before, after)
	}
	_, err = s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Patch(s.ctx(), application, types.MergePatchType, []byte(`{"spec":{"minAvailable":3}}`), metav1.PatchOptions{})
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

func (s *scenario) uids() map[types.UID]bool {
	s.Helper()
	pods, err := s.Pods(s.namespace, "app="+application).Now(s.ctx())
	s.must(err)
	return uidsOf(pods)
}

func uidsOf(pods []*corev1.Pod) map[types.UID]bool {
	uids := map[types.UID]bool{}
	for _, pod := range pods {
		uids[pod.UID] = true
	}
	return uids
}

// shared are those in both.
func shared(a, b map[types.UID]bool) []types.UID {
	var both []types.UID
	for uid := range a {
		if b[uid] {
			both = append(both, uid)
		}
	}
	return both
}
