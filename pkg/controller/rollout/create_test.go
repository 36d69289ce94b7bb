// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// What is written on a ReplicaSet is what cannot be seen of it, and may be secret nowhere: no template is.
func TestANewReplicaSetSaysWhatItsRolloutIs(t *testing.T) {
	r := &v1alpha1.Rollout{Spec: v1alpha1.RolloutSpec{
		Replicas:        ptr.To[int32](3),
		Selector:        &metav1.LabelSelector{MatchLabels: map[string]string{"app": "demo"}},
		Paused:          true,
		RestartAt:       ptr.To(metav1.Now()),
		MinReadySeconds: 7,
		Template:        corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Env: []corev1.EnvVar{{Name: "TOKEN", Value: "secret"}}}}}},
		Strategy:        v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: []v1alpha1.CanaryStep{{SetWeight: ptr.To[int32](20)}}}},
	}}
	rs := &appsv1.ReplicaSet{}
	if err := describe(rs, r); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(rs.Annotations[rollouts.SpecAnnotation]), &got); err != nil {
		t.Fatal(err)
	}
	for _, told := range []string{"template", "replicas", "paused", "restartAt"} {
		if _, is := got[told]; is {
			t.Errorf("it has %s: %v", told, got)
		}
	}
	var spec v1alpha1.RolloutSpec
	if err := json.Unmarshal([]byte(rs.Annotations[rollouts.SpecAnnotation]), &spec); err != nil || spec.MinReadySeconds != 7 || *spec.Strategy.Canary.Steps[0].SetWeight != 20 {
		t.Errorf("it reads as %+v; %v", spec, err)
	}
}
