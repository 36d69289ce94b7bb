// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// addReferring stores a Deployment, and a Rollout that runs its template.
func (w *world) addReferring(name string) *appsv1.Deployment {
	w.t.Helper()
	r := testRollout(name)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "web", Annotations: map[string]string{"big": "annotation"}},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: r.Spec.Selector, Template: r.Spec.Template},
	}
	r.Spec.Selector, r.Spec.Template = nil, corev1.PodTemplateSpec{}
	r.Spec.WorkloadRef = &v1alpha1.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, ScaleDown: v1alpha1.WorkloadScaleDownOnSuccess}
	if _, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Create(w.t.Context(), r, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	d, err := w.host.AppsV1().Deployments(testNamespace).Create(w.t.Context(), d, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) deployment(name string) *appsv1.Deployment {
	w.t.Helper()
	d, err := w.host.AppsV1().Deployments(testNamespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// scaleWorkloadTo is an engine that wants a Deployment to have so many pods.
func scaleWorkloadTo(replicas int32) func(engine.Snapshot) engine.Decision {
	return func(s engine.Snapshot) (d engine.Decision) {
		if s.Workload == nil || *s.Workload.Spec.Replicas == replicas {
			return d
		}
		d.Workload = &engine.WorkloadChange{Name: s.Workload.Name, UID: s.Workload.UID,
			ResourceVersion: s.Workload.ResourceVersion, Replicas: replicas, Before: *s.Workload.Spec.Replicas}
		return d
	}
}

func TestWorkloadIsScaledInOneWriteThenNone(t *testing.T) {
	w := newWorld(t)
	before := w.addReferring("demo")
	w.forgetActions()
	var looks atomic.Int32
	scripted := scaleWorkloadTo(0)
	c := w.start(func(s engine.Snapshot) engine.Decision {
		defer looks.Add(1)
		return scripted(s)
	})
	eventually(t, "the Deployment is scaled", func() bool { return *w.deployment("web").Spec.Replicas == 0 })
	after := w.deployment("web")
	if after.Annotations[rollouts.WorkloadReplicasAnnotation] != "4" || after.Annotations["big"] == "" {
		t.Errorf("the size before must be kept beside what others wrote: %v", after.Annotations)
	}
	patch := patchOf(t, w, "deployments")
	if patch.Metadata.UID != before.UID || patch.Metadata.ResourceVersion != before.ResourceVersion {
		t.Errorf("a host write must carry uid and resourceVersion: %s", patch.raw)
	}
	now := looks.Load()
	c.enqueue(testKey("demo"))
	eventually(t, "it is looked at again", func() bool { return looks.Load() > now })
	if got := w.count("patch"); got != 1 {
		t.Errorf("wrote %v, want one write", w.writes())
	}
}

// Somebody else changes the Deployment between the look and the write: what was decided is not written on top.
func TestWorkloadThatHasChangedIsNotScaled(t *testing.T) {
	w := newWorld(t)
	w.addReferring("demo")
	var crossed atomic.Bool
	scripted := scaleWorkloadTo(0)
	w.start(func(s engine.Snapshot) engine.Decision {
		d := scripted(s)
		if d.Workload != nil && crossed.CompareAndSwap(false, true) {
			other := w.deployment("web")
			other.Spec.Replicas = ptr.To[int32](7)
			if _, err := w.host.AppsV1().Deployments(testNamespace).Update(t.Context(), other, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}
		return d
	})
	eventually(t, "the Deployment is scaled", func() bool { return *w.deployment("web").Spec.Replicas == 0 })
	if got := w.deployment("web").Annotations[rollouts.WorkloadReplicasAnnotation]; got != "7" {
		t.Errorf("the size before is %q, the last one that others wrote was 7: a write was made from an old look", got)
	}
}
