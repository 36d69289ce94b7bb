// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// podsOf are the templates of the pods of what is rendered, by the name of the workload.
func podsOf(t *testing.T, all objects) map[string]*corev1.PodTemplateSpec {
	t.Helper()
	templates := map[string]*corev1.PodTemplateSpec{}
	for name, object := range all {
		content, found, err := unstructured.NestedMap(object.Object, "spec", "template")
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			continue
		}
		template := &corev1.PodTemplateSpec{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, template, true); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		templates[name] = template
	}
	return templates
}

// The pods of every mode need no privilege, by the rules of Kubernetes itself.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for mode, values := range modes {
		templates := podsOf(t, rendered(t, values))
		if len(templates) != 1 {
			t.Errorf("the mode %s has %d workloads", mode, len(templates))
		}
		for name, template := range templates {
			for _, result := range evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec) {
				if !result.Allowed {
					t.Errorf("%s of the mode %s: %s: %s", name, mode, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			// The check is not blind.
			template.Spec.HostNetwork = true
			if policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)).Allowed {
				t.Error("a pod in the network of its node is allowed")
			}
		}
	}
}

// What operators expect of any workload.
func TestPodsHaveProbesAndRequests(t *testing.T) {
	for mode, values := range modes {
		for name, template := range podsOf(t, rendered(t, values)) {
			for _, c := range template.Spec.Containers {
				if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.StartupProbe == nil {
					t.Errorf("%s of the mode %s: container %s has not all probes", name, mode, c.Name)
				}
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
					t.Errorf("%s of the mode %s: container %s requests %v", name, mode, c.Name, c.Resources.Requests)
				}
			}
		}
	}
}
