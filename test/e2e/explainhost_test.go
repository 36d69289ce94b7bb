// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// surgeless lets no more pods be than there are to be.
func surgeless(r *v1alpha1.Rollout) {
	r.Spec.Strategy.Canary.MaxSurge, r.Spec.Strategy.Canary.MaxUnavailable = ptr.To(intstr.FromInt32(0)), ptr.To(intstr.FromInt32(1))
}

// denied makes a policy against creating something in the namespace of the test.
func (s *scenario) denied(group, resource, expression, message string) {
	s.Helper()
	s.policy(admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}, expression, message)
}

// permit lifts what denied forbids.
func permit(s *scenario, _ string) {
	s.must(s.Host.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(s.ctx(), s.namespace+".example.com", metav1.DeleteOptions{}))
}

// podDenied waits until a pod with the image cannot be made.
func (s *scenario) podDenied(tag string) {
	s.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image(tag)}}}}
	s.eventually("the policy to hold", func(ctx context.Context) bool {
		_, err := s.Host.CoreV1().Pods(s.namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInvalid(err)
	})
}

// What waits for the host cluster to let something be made or taken away.
var hostWaitedFor = []blockedBy{
	{
		what: "quota", code: v1alpha1.BlockerPodsRefused,
		reach: func(s *scenario, name string) {
			s.deploy(newRollout(name, 2, weight(50), pause()))
			s.quota(corev1.ResourcePods, "2")
			s.setTag(name, "two")
		},
		words: []string{"refuses to create pods of revision 2, of which there are 0 of 1", "exceeded quota: limit", "limited: pods=2"},
		next:  "abort", moved: backAtOne,
	},
	{
		what: "quota that is raised", code: v1alpha1.BlockerPodsRefused,
		reach: func(s *scenario, name string) {
			s.deploy(newRollout(name, 2))
			s.quota(corev1.ResourcePods, "2")
			s.change(name, func(r *v1alpha1.Rollout) { r.Spec.Replicas = ptr.To[int32](4) })
		},
		words: []string{"refuses to create pods of revision 1, of which there are 2 of 4", "exceeded quota: limit", "it is tried again by itself"},
		remedy: func(s *scenario, _ string) {
			s.must(s.Host.CoreV1().ResourceQuotas(s.namespace).Delete(s.ctx(), "limit", metav1.DeleteOptions{}))
		},
		moved: healthyAt("one", 4),
	},
	{
		what: "policy on pods", code: v1alpha1.BlockerPodsRefused,
		reach: func(s *scenario, name string) {
			s.deploy(newRollout(name, 2, weight(50), pause()))
			s.denied("", "pods", "false", "no new pods on Fridays")
			s.podDenied("two")
			s.setTag(name, "two")
		},
		words: []string{"refuses to create pods of revision 2, of which there are 0 of 1", "no new pods on Fridays"},
		next:  "abort", moved: backAtOne,
	},
	{
		// The worst of all: what an abort goes back to is refused, and the pods that serve are too few.
		what: "policy on the stable pods", code: v1alpha1.BlockerPodsRefused, codes: []v1alpha1.BlockerCode{v1alpha1.BlockerPodsRefused, v1alpha1.BlockerAborted},
		reach: func(s *scenario, name string) {
			r := newRollout(name, 2, weight(50), pause())
			surgeless(r)
			s.deploy(r)
			s.setTag(name, "two")
			s.atPause(name, 1)
			s.denied("", "pods", `object.spec.containers[0].image != "`+image("one")+`"`, "version one is vulnerable")
			s.podDenied("one")
			s.kubectl("sluice", "abort", name)
		},
		words:  []string{"refuses to create pods of revision 1 (stable), of which there are 1 of 2", "version one is vulnerable"},
		remedy: permit, moved: backAtOne,
	},
	{
		what: "policy on ReplicaSets", code: v1alpha1.BlockerPodsRefused,
		reach: func(s *scenario, name string) {
			r := s.deploy(newRollout(name, 2, weight(50), pause()))
			probe := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: s.sets(r)[0].Spec}
			s.denied("apps", "replicasets", "false", "nobody deploys on Fridays")
			s.eventually("the policy to hold", func(ctx context.Context) bool {
				_, err := s.Host.AppsV1().ReplicaSets(s.namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return apierrors.IsInvalid(err)
			})
			s.setTag(name, "two")
		},
		words: []string{"refuses a write of the controller", "cannot be created", "nobody deploys on Fridays"},
		next:  "abort", moved: backAtOne,
	},
	{
		what: "disruption budget", code: v1alpha1.BlockerEvictionRefused,
		reach: func(s *scenario, name string) {
			s.deploy(newRollout(name, 2))
			_, err := s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Create(s.ctx(), &policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Name: "all-of-them"},
				Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(3)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
			}, metav1.CreateOptions{})
			s.must(err)
			s.kubectl("sluice", "restart", name)
		},
		words: []string{"the restart waits to evict pods, and tries again every 30s", "disruption budget", "all-of-them"},
		remedy: func(s *scenario, _ string) {
			s.must(s.Host.PolicyV1().PodDisruptionBudgets(s.namespace).Delete(s.ctx(), "all-of-them", metav1.DeleteOptions{}))
		},
		moved: func(s *scenario, name string) {
			s.await(name, func(r *v1alpha1.Rollout) string {
				return unless(r.Spec.RestartAt.Equal(r.Status.RestartedAt) && r.Status.Phase == v1alpha1.RolloutPhaseHealthy, "restarted")
			})
		},
	},
}
