// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	rolloutinformers "sluice.dev/sluice/pkg/generated/informers/externalversions/rollouts/v1alpha1"
)

// Kind is a kind of workload: a Deployment or a Rollout. Both get the same pod template, number of pods
// and bounds (the defaults of either, which are the same: 25% surge, 25% unavailable).
type Kind struct {
	// Name is that of the kind, Resource the plural that the API has for it.
	Name, Resource string

	create   func(ctx context.Context, namespace, name string, replicas int32) error
	patch    func(ctx context.Context, namespace, name string, patch []byte) error
	informer func(namespace string) cache.SharedIndexInformer
	state    func(object any) state
}

// state is what tells whether a workload has completed its last update.
type state struct {
	name, image string
	// observed is true if the status speaks of the current spec, done if nothing of an update is left to do.
	observed, done bool
	// step is the step that a paused Rollout is at, -1 if it is not paused.
	step int32
}

// Deployments is the kind of Kubernetes itself.
func (c *Clients) Deployments() Kind {
	client := c.host.AppsV1()
	return Kind{
		Name: "Deployment", Resource: "deployments",
		create: func(ctx context.Context, namespace, name string, replicas int32) error {
			_, err := client.Deployments(namespace).Create(ctx, &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector(name), Template: template(name)},
			}, metav1.CreateOptions{})
			return err
		},
		patch: func(ctx context.Context, namespace, name string, patch []byte) error {
			_, err := client.Deployments(namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
		informer: func(namespace string) cache.SharedIndexInformer {
			return appsinformers.NewDeploymentInformer(c.host, namespace, 0, nil)
		},
		state: func(object any) state {
			d := object.(*appsv1.Deployment)
			n := ptr.Deref(d.Spec.Replicas, 1)
			return state{
				name: d.Name, image: d.Spec.Template.Spec.Containers[0].Image, step: -1,
				observed: d.Status.ObservedGeneration >= d.Generation,
				done:     d.Status.Replicas == n && d.Status.UpdatedReplicas == n && d.Status.AvailableReplicas == n,
			}
		},
	}
}

// Rollouts is our kind, updated by the given steps.
func (c *Clients) Rollouts(steps []v1alpha1.CanaryStep) Kind {
	client := c.rollouts.SluiceV1alpha1()
	return Kind{
		Name: "Rollout", Resource: "rollouts",
		create: func(ctx context.Context, namespace, name string, replicas int32) error {
			_, err := client.Rollouts(namespace).Create(ctx, &v1alpha1.Rollout{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: v1alpha1.RolloutSpec{
					Replicas: &replicas, Selector: selector(name), Template: template(name),
					Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: steps}},
				},
			}, metav1.CreateOptions{})
			return err
		},
		patch: func(ctx context.Context, namespace, name string, patch []byte) error {
			_, err := client.Rollouts(namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
		informer: func(namespace string) cache.SharedIndexInformer {
			return rolloutinformers.NewRolloutInformer(c.rollouts, namespace, 0, nil)
		},
		state: func(object any) state {
			r := object.(*v1alpha1.Rollout)
			n := ptr.Deref(r.Spec.Replicas, 1)
			s := state{
				name: r.Name, image: r.Spec.Template.Spec.Containers[0].Image, step: -1,
				observed: r.Status.ObservedGeneration >= r.Generation,
				done: r.Status.Phase == v1alpha1.RolloutPhaseHealthy &&
					r.Status.Replicas == n && r.Status.UpdatedReplicas == n && r.Status.AvailableReplicas == n,
			}
			if r.Status.Phase == v1alpha1.RolloutPhasePaused {
				s.step = ptr.Deref(r.Status.CurrentStepIndex, -1)
			}
			return s
		},
	}
}

// Weights are steps that each set a weight, with no pause between them.
func Weights(percent ...int32) []v1alpha1.CanaryStep {
	var steps []v1alpha1.CanaryStep
	for _, p := range percent {
		steps = append(steps, v1alpha1.CanaryStep{SetWeight: ptr.To(p)})
	}
	return steps
}

// Paused puts a pause without an end behind each step.
func Paused(steps []v1alpha1.CanaryStep) []v1alpha1.CanaryStep {
	var paused []v1alpha1.CanaryStep
	for _, step := range steps {
		paused = append(paused, step, v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{}})
	}
	return paused
}

const (
	container = "app"
	// firstImage is what workloads are created with. Nobody pulls it: the nodes are fake.
	firstImage = "benchmark:0"
)

// imagePatch updates a workload of either kind to the image.
func imagePatch(image string) []byte {
	patch := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []map[string]string{{"name": container, "image": image}}}}}}
	data, err := json.Marshal(patch)
	if err != nil {
		panic(fmt.Sprintf("a map of strings is not JSON: %v", err))
	}
	return data
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: container, Image: firstImage,
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			}},
		}}},
	}
}
