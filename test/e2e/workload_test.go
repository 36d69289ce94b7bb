// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// referring takes the template and the selector out of a Rollout, into a Deployment of the same name.
func referring(r *v1alpha1.Rollout, mode v1alpha1.WorkloadScaleDown) (*v1alpha1.Rollout, *appsv1.Deployment) {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: r.Name},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(*r.Spec.Replicas), Selector: r.Spec.Selector, Template: r.Spec.Template},
	}
	r.Spec.Selector, r.Spec.Template = nil, corev1.PodTemplateSpec{}
	r.Spec.WorkloadRef = &v1alpha1.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, ScaleDown: mode}
	return r, d
}

func (s *scenario) createDeployment(d *appsv1.Deployment) {
	s.Helper()
	_, err := s.Host.AppsV1().Deployments(s.namespace).Create(s.ctx(), d, metav1.CreateOptions{})
	s.must(err)
	s.awaitDeployment(d.Name, *d.Spec.Replicas)
}

// awaitDeployment waits until a Deployment has so many available pods, and asks for no more.
func (s *scenario) awaitDeployment(name string, pods int32) {
	s.Helper()
	s.eventually(fmt.Sprintf("Deployment %s to have %d pods", name, pods), func(ctx context.Context) bool {
		d, err := s.Host.AppsV1().Deployments(s.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && *d.Spec.Replicas == pods && d.Status.AvailableReplicas == pods && d.Status.Replicas == pods
	})
}

func (s *scenario) changeDeployment(name string, edit func(*appsv1.Deployment)) {
	s.Helper()
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		d, err := s.Host.AppsV1().Deployments(s.namespace).Get(s.ctx(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		edit(d)
		_, err = s.Host.AppsV1().Deployments(s.namespace).Update(s.ctx(), d, metav1.UpdateOptions{})
		return err
	}))
}

// awaitRevision waits until a revision is Healthy.
func (s *scenario) awaitRevision(name string, revision int64) *v1alpha1.Rollout {
	s.Helper()
	return s.await(name, func(r *v1alpha1.Rollout) string {
		if r.Status.Phase == v1alpha1.RolloutPhaseHealthy && r.Status.Revision == revision {
			return ""
		}
		return fmt.Sprintf("wanted is revision %d, it is %s at revision %d: %s", revision, r.Status.Phase, r.Status.Revision, r.Status.Message)
	})
}

// A template beside workloadRef is refused, and so is any other kind.
//
// Reference: 3.2 TestWorkloadRefTemplate
func TestWorkloadRefTemplate(t *testing.T) {
	s := together(t)
	r := newRollout("both", 1)
	r.Spec.WorkloadRef = &v1alpha1.WorkloadRef{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "x"}
	_, err := s.rollouts().Create(s.ctx(), r, metav1.CreateOptions{})
	s.refused(err, 422, "template must be empty for workload reference rollout", `spec.workloadRef.kind: Unsupported value: "ReplicaSet"`)
}

// A Rollout takes its template from a Deployment, waits for one that is missing, and may get a template of its own.
//
// Reference: 3.2 TestWorkloadRef
func TestWorkloadRef(t *testing.T) {
	s := together(t)
	r, d := referring(newRollout("ref", 2), v1alpha1.WorkloadScaleDownNever)
	own := d.DeepCopy()
	s.create(r)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.contains(s.kubectl("get", resource, r.Name, "--subresource=explain", "-o", "json"), "WorkloadMissing")

	s.createDeployment(d)
	stored := s.awaitRevision(r.Name, 1)
	if stored.Status.WorkloadObservedGeneration != 1 || len(stored.Spec.Template.Spec.Containers) > 0 || stored.Spec.Selector != nil {
		t.Errorf("generation %d, template %v, selector %v", stored.Status.WorkloadObservedGeneration, stored.Spec.Template, stored.Spec.Selector)
	}
	s.changeDeployment(d.Name, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image("two") })
	s.awaitRevision(r.Name, 2)

	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.WorkloadRef.Name = "none" })
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.WorkloadRef.Name = d.Name })
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)

	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.WorkloadRef, r.Spec.Selector, r.Spec.Template = nil, own.Spec.Selector, own.Spec.Template
		r.Spec.Template.Spec.Containers[0].Image = image("two")
	})
	stored = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	if stored.Status.Revision != 2 || stored.Status.WorkloadObservedGeneration != 0 {
		t.Errorf("revision %d, generation %d: the template is the same", stored.Status.Revision, stored.Status.WorkloadObservedGeneration)
	}
}

// The Deployment is scaled down as scaleDown says, and stays so afterwards.
//
// Reference: 3.2 TestNeverScaleDown
// Reference: 3.2 TestScaleDownOnSuccess
// Reference: 3.2 TestScaleDownProgressively
// Reference: 3.2 TestScaleDownProgressivelyCompletedCanary
func TestWorkloadScaleDown(t *testing.T) {
	s := together(t)
	for _, test := range []struct {
		mode v1alpha1.WorkloadScaleDown
		left int32
	}{
		{v1alpha1.WorkloadScaleDownNever, 4},
		{v1alpha1.WorkloadScaleDownOnSuccess, 0},
		{v1alpha1.WorkloadScaleDownProgressively, 0},
	} {
		r, d := referring(newRollout(string(test.mode), 4, weight(25), pause(), weight(50), pauseFor(1)), test.mode)
		s.createDeployment(d)
		s.create(r)
		s.awaitRevision(r.Name, 1)
		s.awaitDeployment(d.Name, test.left)

		s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Replicas = ptr.To[int32](8) })
		s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
		s.changeDeployment(d.Name, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image("two") })
		s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
		_, err := s.patch(r.Name, `{}`, "promote")
		s.must(err)
		s.awaitRevision(r.Name, 2)
		s.awaitDeployment(d.Name, test.left)
	}
}

// With blueGreen too it stays so, whatever the size.
//
// Reference: 3.2 TestScaleDownProgressivelyCompleted
func TestWorkloadStaysScaledDown(t *testing.T) {
	s := together(t)
	r, d := referring(newBlueGreen("bluegreen", 3, lingering(1)), v1alpha1.WorkloadScaleDownProgressively)
	s.createDeployment(d)
	s.deployBehind(r)
	s.awaitDeployment(d.Name, 0)
	for _, n := range []int32{6, 2} {
		s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Replicas = &n })
		s.awaitCounts(r.Name, [5]int32{n, n, n, n, n})
		s.awaitDeployment(d.Name, 0)
	}
	s.changeDeployment(d.Name, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image("two") })
	s.awaitRevision(r.Name, 2)
	s.awaitCounts(r.Name, [5]int32{2, 2, 2, 2, 2})
	s.awaitDeployment(d.Name, 0)
}

// At no moment of the takeover, of an update and of the way back to the Deployment there
// are fewer pods available than asked for, nor does a Service lead nowhere.
func TestWorkloadThereAndBack(t *testing.T) {
	s := together(t)
	const replicas = 4
	for _, r := range []*v1alpha1.Rollout{
		neverFewer(newServed("canary", replicas, weight(25), pause(), weight(50))),
		newBlueGreen("bluegreen", replicas, untilPromoted, lingering(1)),
	} {
		r, d := referring(r, v1alpha1.WorkloadScaleDownProgressively)
		s.createDeployment(d)
		observer, err := s.Observe(s.Context(), s.namespace, "app="+r.Name, cluster.Bounds{MaxPods: 3 * replicas, MinAvailable: replicas})
		s.must(err)
		s.deployBehind(r)
		s.awaitDeployment(d.Name, 0)
		names := servicesOf(r)
		if r.Spec.Strategy.BlueGreen == nil {
			s.neverEmpty(s.get(r.Name), names...)
		} else {
			s.neverEmpty(s.get(r.Name), r.Spec.Strategy.BlueGreen.ActiveService) // The preview leads to new pods before they are there.
		}
		s.changeDeployment(d.Name, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image("two") })
		s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)

		output := s.run("", "sluice", "migrate", "--back", r.Name)
		if output.Code == 0 || !strings.Contains(output.Stderr, "let the update end") || !strings.Contains(output.Stderr, "nothing was changed") {
			t.Errorf("in the middle of an update: %+v", output)
		}
		s.kubectl("sluice", "promote", r.Name)
		s.awaitRevision(r.Name, 2)

		output = s.run("", "sluice", "detach", r.Name)
		if output.Code == 0 || !strings.Contains(output.Stderr, "kubectl sluice migrate --back "+r.Name) {
			t.Errorf("detach, with the Deployment at 0: %+v", output)
		}
		for policy, word := range map[string]string{"background": "nothing runs once", "orphan": "it adopts the pods"} {
			s.contains(s.run("", "delete", resource, r.Name, "--cascade="+policy, "--dry-run=server").Stderr, "is scaled to 0", word, "migrate --back "+r.Name)
		}

		s.contains(s.kubectl("sluice", "migrate", "--back", r.Name), fmt.Sprintf("deployment.apps/%s scaled to %d", d.Name, replicas), "deleted, its pods go")
		s.awaitDeployment(d.Name, replicas)
		s.eventually("all pods to be the Deployment's", func(ctx context.Context) bool {
			pods, err := s.Pods(s.namespace, "app="+r.Name).Now(ctx)
			return err == nil && len(pods) == replicas
		})
		for _, name := range names {
			s.awaitLed(name, "")
		}
		tally, err := observer.Stop()
		if s.must(err); tally.FewestAvailable < replicas {
			t.Errorf("%s: only %d pods were available", r.Name, tally.FewestAvailable)
		}
	}
}

// neverFewer lets an update of a canary take no pod before another is there.
func neverFewer(r *v1alpha1.Rollout) *v1alpha1.Rollout {
	r.Spec.Strategy.Canary.MaxUnavailable = ptr.To(intstr.FromInt32(0))
	return r
}

// servicesOf are the Services that a Rollout names.
func servicesOf(r *v1alpha1.Rollout) []string {
	if b := r.Spec.Strategy.BlueGreen; b != nil {
		return []string{b.ActiveService, b.PreviewService}
	}
	return []string{r.Spec.Strategy.Canary.CanaryService, r.Spec.Strategy.Canary.StableService}
}
