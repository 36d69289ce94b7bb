// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// editRollout is what is advised where only a person can say what is meant.
const editRollout = "kubectl edit rollouts.sluice.dev %s -n %s"

// active is a blueGreen Rollout with no Service but the active one, which is not made.
func (s *scenario) active(name string) {
	s.create(newBlueGreen(name, 1, func(b *v1alpha1.BlueGreenStrategy) { b.PreviewService = "" }))
}

func isHealthy(s *scenario, name string) { s.awaitPhase(name, v1alpha1.RolloutPhaseHealthy) }

// objectsWaitedFor are what a Rollout names in vain.
var objectsWaitedFor = []blockedBy{
	{
		what: "a Service that is missing", code: v1alpha1.BlockerServiceMissing, advised: editRollout,
		reach:  (*scenario).active,
		words:  []string{`spec.strategy.blueGreen.activeService names Service "stuck", which does not exist`, "create it, or name another"},
		remedy: func(s *scenario, name string) { s.service(name, name) }, moved: isHealthy,
	},
	{
		what: "a Service of another Rollout", code: v1alpha1.BlockerServiceTaken, advised: editRollout,
		reach: func(s *scenario, name string) {
			s.service(name, name)
			another := newBlueGreen("another", 1, func(b *v1alpha1.BlueGreenStrategy) { b.ActiveService, b.PreviewService = name, "" })
			both := map[string]string{"app": name, "of": "another"}
			another.Spec.Selector.MatchLabels, another.Spec.Template.Labels = both, both
			s.deploy(another)
			s.active(name)
		},
		words:  []string{`which Rollout "another" manages`, "kubectl annotate service stuck " + managedBy + "-"},
		remedy: func(s *scenario, _ string) { s.kubectl("delete", resource, "another") }, moved: isHealthy,
	},
	{
		what: "a Service that would lead to no pod", code: v1alpha1.BlockerServiceMismatch, advised: editRollout,
		reach: func(s *scenario, name string) {
			s.service(name, "something-else")
			s.active(name)
		},
		words: []string{"whose selector asks for the label app=something-else", "would lead to no pod"},
		remedy: func(s *scenario, name string) {
			_, err := s.Host.CoreV1().Services(s.namespace).Patch(s.ctx(), name, types.MergePatchType, []byte(`{"spec":{"selector":{"app":"`+name+`"}}}`), metav1.PatchOptions{})
			s.must(err)
		},
		moved: isHealthy,
	},
	{
		what: "a Deployment that is missing", code: v1alpha1.BlockerWorkloadMissing, advised: editRollout,
		reach: func(s *scenario, name string) {
			r, _ := referring(newRollout(name, 1), v1alpha1.WorkloadScaleDownNever)
			s.create(r)
		},
		words: []string{`spec.workloadRef names Deployment "stuck", which does not exist`},
		remedy: func(s *scenario, name string) {
			_, d := referring(newRollout(name, 1), v1alpha1.WorkloadScaleDownNever)
			s.createDeployment(d)
		},
		moved: isHealthy,
	},
	{
		what: "a Deployment of other pods", code: v1alpha1.BlockerWorkloadMismatch, advised: editRollout,
		reach: func(s *scenario, name string) {
			r, d := referring(newRollout(name, 1), v1alpha1.WorkloadScaleDownNever)
			s.createDeployment(d)
			r.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name, "tier": "web"}}
			s.create(r)
		},
		words: []string{`spec.workloadRef names Deployment "stuck", whose template does not have the labels that spec.selector asks for`},
		remedy: func(s *scenario, name string) {
			s.changeDeployment(name, func(d *appsv1.Deployment) { d.Spec.Template.Labels["tier"] = "web" })
		},
		moved: isHealthy,
	},
	{
		what: "a Deployment that somebody gave pods again", code: v1alpha1.BlockerWorkloadScaledUp,
		advised: "kubectl scale deployment %s --replicas=0 -n %s",
		reach: func(s *scenario, name string) {
			r, d := referring(newRollout(name, 1), v1alpha1.WorkloadScaleDownOnSuccess)
			s.createDeployment(d)
			s.deploy(r)
			s.awaitDeployment(name, 0)
			s.changeDeployment(name, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		},
		words: []string{"somebody has given it 2 pods again", "leave spec.replicas out of its manifest"},
		moved: func(s *scenario, name string) {
			s.awaitDeployment(name, 0)
			s.blockedInOrder(name, nil)
		},
	},
}
