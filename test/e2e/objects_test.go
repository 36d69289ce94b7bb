// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// image is an image whose tag stands for a version.
func image(tag string) string { return "example.com/demo:" + tag }

// newRollout is a Rollout of the version "one", with these steps.
func newRollout(name string, replicas int32, steps ...v1alpha1.CanaryStep) *v1alpha1.Rollout {
	labels := map[string]string{"app": name}
	return &v1alpha1.Rollout{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Rollout"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.RolloutSpec{
			Replicas: ptr.To(replicas),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: steps}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image("one")}}},
			},
		},
	}
}

// weight is a step to a share of pods in percent.
func weight(percent int32) v1alpha1.CanaryStep {
	return v1alpha1.CanaryStep{SetWeight: ptr.To(percent)}
}

// pause is a step that waits for a promote.
func pause() v1alpha1.CanaryStep {
	return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{}}
}

// pauseFor is a step that waits for a time.
func pauseFor(seconds int32) v1alpha1.CanaryStep {
	return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{Duration: ptr.To(intstr.FromInt32(seconds))}}
}

// manifest is the Rollout as a person writes it: without status, and without empty fields of metadata.
func manifest(r *v1alpha1.Rollout) map[string]any {
	encoded, err := json.Marshal(r)
	if err != nil {
		panic(err) // The types marshal; only a cyclic or foreign value could not.
	}
	var object map[string]any
	if err := json.Unmarshal(encoded, &object); err != nil {
		panic(err)
	}
	delete(object, "status")
	return object
}

// encode is the manifest as JSON, which kubectl reads as well as YAML.
func encode(object map[string]any) string {
	encoded, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}

// list is several manifests in one file.
func list(objects ...map[string]any) string {
	var documents []string
	for _, object := range objects {
		documents = append(documents, encode(object))
	}
	return strings.Join(documents, "\n---\n")
}

// statusOf is the answer of the server that an error stands for; nil if it is another error.
func statusOf(err error) *metav1.Status {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return nil
	}
	status := answer.Status()
	return &status
}

// rolloutsResource is what clients without types call Rollouts.
var rolloutsResource = v1alpha1.SchemeGroupVersion.WithResource("rollouts")

// mergePatch is the manifest with a merge patch applied to it.
func mergePatch(s *scenario, object map[string]any, patch string) map[string]any {
	s.Helper()
	merged, err := jsonpatch.MergePatch([]byte(encode(object)), []byte(patch))
	s.must(err)
	var result map[string]any
	s.must(json.Unmarshal(merged, &result))
	return result
}
