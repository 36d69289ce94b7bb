// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argo

import (
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/install"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
)

var (
	scheme = newScheme()
	strict = serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
)

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}

// Typed reads a manifest of Sluice's into the type, as strictly as the server does.
func Typed(object *unstructured.Unstructured) (*v1alpha1.Rollout, error) {
	encoded, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	r := &v1alpha1.Rollout{}
	if _, _, err := strict.Decode(encoded, nil, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Hub is a Rollout as the server sees it: with its defaults, but those of the template that the cluster sets.
func Hub(r *v1alpha1.Rollout) (*rollouts.Rollout, error) {
	r = r.DeepCopy()
	scheme.Default(r)
	hub := &rollouts.Rollout{}
	if err := scheme.Convert(r, hub, nil); err != nil {
		return nil, err
	}
	return hub, nil
}

// problems are what the server would refuse in a manifest, but for what it asks the cluster about.
func problems(object *unstructured.Unstructured) []string {
	r, err := Typed(object)
	if err != nil {
		return []string{strings.TrimPrefix(err.Error(), "strict decoding error: ")}
	}
	if r.Namespace == "" {
		r.Namespace = metav1.NamespaceDefault // Where it goes is decided when it is applied.
	}
	hub, err := Hub(r)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for _, problem := range validation.ValidateRollout(hub) {
		found = append(found, problem.Error())
	}
	return found
}
