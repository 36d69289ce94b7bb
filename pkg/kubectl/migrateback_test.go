// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// referring is a Rollout that has taken over from a Deployment, which has been scaled to 0.
func referring(change ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return demo(append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		r.Spec.Replicas = ptr.To[int32](3)
		r.Spec.WorkloadRef = &v1alpha1.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", ScaleDown: v1alpha1.WorkloadScaleDownOnSuccess}
		r.Spec.Strategy.Canary.StableService = "web"
		r.Status.StableRS, r.Status.CurrentPodHash, r.Status.Phase = "new", "new", v1alpha1.RolloutPhaseHealthy
		r.Status.WorkloadObservedGeneration = 2
	}}, change...)...)
}

func emptied() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "uid-web", ResourceVersion: "5", Generation: 2, Annotations: map[string]string{rollouts.WorkloadReplicasAnnotation: "3"}},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](0)},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 2},
	}
}

func managed() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Annotations: map[string]string{rollouts.ManagedByRolloutAnnotation: "demo"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{rollouts.PodTemplateHashLabel: "new"}},
	}
}

// controllers do what those of the cluster do: the pods of the Deployment become available when it is looked at the
// second time, and a Service that is not named any more is given back. They record what was asked for, in order.
func (b *bench) controllers(t *testing.T, steps *[]string) {
	t.Helper()
	looked := 0
	b.kube.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
		w, err := b.kube.Tracker().Get(appsv1.SchemeGroupVersion.WithResource("deployments"), "shop", "web")
		if err != nil {
			return true, nil, err
		}
		deployment := w.(*appsv1.Deployment).DeepCopy()
		if n := *deployment.Spec.Replicas; n > 0 {
			if looked++; looked > 1 {
				deployment.Status.AvailableReplicas, deployment.Status.UpdatedReplicas = n, n
			}
		}
		return true, deployment, nil
	})
	b.kube.PrependReactor("patch", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
		*steps = append(*steps, "scale")
		return false, nil, nil
	})
	b.sluice.PrependReactor("*", "rollouts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		switch a := action.(type) {
		case clienttesting.PatchAction:
			var body struct {
				Spec map[string]any `json:"spec"`
			}
			if err := json.Unmarshal(a.GetPatch(), &body); err != nil {
				t.Error(err)
			}
			for field := range body.Spec {
				*steps = append(*steps, field)
				if field == "strategy" {
					service := managed()
					service.Annotations, service.Spec.Selector = nil, nil
					if err := b.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), service, "shop"); err != nil {
						t.Error(err)
					}
				}
			}
		case clienttesting.DeleteAction:
			*steps = append(*steps, "delete")
		}
		return false, nil, nil
	})
}

// The Deployment has its pods, and the Services lead to them, before the Rollout goes.
func TestMigrateBack(t *testing.T) {
	b := newBench(referring(), emptied(), managed())
	var steps []string
	b.controllers(t, &steps)
	b.expect(t, "migrate --back demo", 0, `rollout.sluice.dev/demo leaves deployment.apps/web alone
deployment.apps/web scaled to 3
deployment.apps/web has its pods, and they are available
rollout.sluice.dev/demo names no Service any more
rollout.sluice.dev/demo deleted, its pods go`, "")
	if got := strings.Join(steps, " "); got != "workloadRef scale strategy delete" {
		t.Errorf("steps %s", got)
	}
}

// What was interrupted goes on, and nothing is done twice.
func TestMigrateBackGoesOn(t *testing.T) {
	deployment := emptied()
	deployment.Spec.Replicas, deployment.Annotations = ptr.To[int32](3), nil
	b := newBench(referring(func(r *v1alpha1.Rollout) {
		r.Spec.WorkloadRef.ScaleDown, r.Spec.Strategy.Canary.StableService = v1alpha1.WorkloadScaleDownNever, ""
	}), deployment)
	var steps []string
	b.controllers(t, &steps)
	if code := b.do(t.Context(), "migrate --back demo"); code != 0 || strings.Join(steps, " ") != "delete" {
		t.Errorf("exit code %d, steps %v: %s", code, steps, b.errOut)
	}
}

// While the Deployment does not get its pods the Rollout keeps its own.
func TestMigrateBackWaits(t *testing.T) {
	b := newBench(referring(), emptied(), managed())
	if code := b.do(t.Context(), "migrate --back demo --timeout 50ms"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"0 of 3 pods of deployment.apps/web were available", "Where it stands: rollout.sluice.dev/demo serves with all its pods", "To go on: 'kubectl sluice migrate --back demo --namespace shop'"} {
		if !strings.Contains(b.errOut.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.errOut)
		}
	}
	if asked := b.deletions(); len(asked) > 0 {
		t.Error("the Rollout was deleted")
	}
}

func TestMigrateBackRefuses(t *testing.T) {
	for _, test := range []struct {
		rule    string
		line    string
		objects []runtime.Object
		want    string
	}{
		{"a template of its own", "migrate --back demo", []runtime.Object{demo()}, "has a template of its own"},
		{"no Deployment", "migrate --back demo", []runtime.Object{referring()}, "does not exist: nothing could take over its pods"},
		{"an update in flight", "migrate --back demo", []runtime.Object{referring(func(r *v1alpha1.Rollout) { r.Status.StableRS = "old" }), emptied()}, "a template that is not the stable one"},
		{"two names", "migrate --back demo other", nil, "--back needs the NAME of one Rollout"},
		{"with --live", "migrate --back demo --live", nil, "--live does not go with --back"},
		{"with manifests", "migrate --back demo -f x", nil, "give either manifests, with -f or -k, or --back, not both"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			b := newBench(test.objects...)
			if code := b.do(t.Context(), test.line); code != 1 || !strings.Contains(b.errOut.String(), test.want) {
				t.Errorf("exit code %d: %s", code, b.errOut)
			}
			for _, action := range append(b.kube.Actions(), b.sluice.Actions()...) {
				if action.GetVerb() != "get" {
					t.Errorf("it did %s %s", action.GetVerb(), action.GetResource().Resource)
				}
			}
		})
	}
}
