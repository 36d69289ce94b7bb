// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	rolloutsfake "sluice.dev/sluice/pkg/generated/clientset/versioned/fake"
)

const newImage = "benchmark:1"

func TestDeploymentIsComplete(t *testing.T) {
	kind := (&Clients{host: fake.NewClientset()}).Deployments()
	deployment := func(change func(*appsv1.Deployment)) *appsv1.Deployment {
		d := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 2},
			Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](5), Template: template("a")},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 5, UpdatedReplicas: 5, AvailableReplicas: 5},
		}
		d.Spec.Template.Spec.Containers[0].Image = newImage
		change(d)
		return d
	}
	for _, test := range []struct {
		rule   string
		change func(*appsv1.Deployment)
		want   bool
	}{
		{"all pods are new, available, and alone", func(*appsv1.Deployment) {}, true},
		{"the status must speak of the new spec", func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 1 }, false},
		{"the spec must be the new one", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = firstImage }, false},
		{"no pod may be missing", func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 4 }, false},
		{"no old pod may be left", func(d *appsv1.Deployment) { d.Status.Replicas = 6 }, false},
	} {
		if got := complete(newImage)(kind.state(deployment(test.change))); got != test.want {
			t.Errorf("%s: got %v", test.rule, got)
		}
	}
}

func TestRolloutIsCompleteOrPaused(t *testing.T) {
	kind := (&Clients{rollouts: rolloutsfake.NewClientset()}).Rollouts(nil)
	rollout := func(change func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
		r := &v1alpha1.Rollout{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 2},
			Spec:       v1alpha1.RolloutSpec{Replicas: ptr.To[int32](5), Template: template("a")},
			Status: v1alpha1.RolloutStatus{
				ObservedGeneration: 2, Phase: v1alpha1.RolloutPhaseHealthy, CurrentStepIndex: ptr.To[int32](3),
				Replicas: 5, UpdatedReplicas: 5, AvailableReplicas: 5,
			},
		}
		r.Spec.Template.Spec.Containers[0].Image = newImage
		change(r)
		return r
	}
	for _, test := range []struct {
		rule             string
		change           func(*v1alpha1.Rollout)
		complete, paused bool
	}{
		{"Healthy with all pods new and available is complete", func(*v1alpha1.Rollout) {}, true, false},
		{"the status must speak of the new spec", func(r *v1alpha1.Rollout) { r.Status.ObservedGeneration = 1 }, false, false},
		{"steps that are left are work left", func(r *v1alpha1.Rollout) { r.Status.Phase = v1alpha1.RolloutPhaseProgressing }, false, false},
		{"Paused waits at its step", func(r *v1alpha1.Rollout) { r.Status.Phase = v1alpha1.RolloutPhasePaused }, false, true},
		{"at that step, not at another one", func(r *v1alpha1.Rollout) {
			r.Status.Phase, r.Status.CurrentStepIndex = v1alpha1.RolloutPhasePaused, ptr.To[int32](1)
		}, false, false},
	} {
		s := kind.state(rollout(test.change))
		if got := complete(newImage)(s); got != test.complete {
			t.Errorf("%s: complete is %v", test.rule, got)
		}
		if got := pausedAt(newImage, 3)(s); got != test.paused {
			t.Errorf("%s: paused is %v", test.rule, got)
		}
	}
}

func TestSteps(t *testing.T) {
	steps := Paused(Weights(20, 40))
	if len(steps) != 4 {
		t.Fatalf("a pause follows each weight: got %d steps", len(steps))
	}
	for i, step := range steps {
		if i%2 == 0 && (step.SetWeight == nil || *step.SetWeight != int32(20*(i/2+1))) || i%2 == 1 && (step.Pause == nil || step.Pause.Duration != nil) {
			t.Errorf("step %d is %+v", i, step)
		}
	}
}

func TestImagePatchNamesTheContainer(t *testing.T) {
	want := `{"spec":{"template":{"spec":{"containers":[{"image":"benchmark:1","name":"app"}]}}}}`
	if got := string(imagePatch(newImage)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
