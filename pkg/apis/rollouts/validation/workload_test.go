// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

func TestValidateWorkloadRef(t *testing.T) {
	for _, test := range []struct {
		rule   string
		change func(*rollouts.Rollout)
		// errors are the fields of those, each with a word of what would be valid; none if it is valid.
		errors []string
	}{
		{"a Deployment", func(*rollouts.Rollout) {}, nil},
		{"a Deployment, and its selector", func(r *rollouts.Rollout) { r.Spec.Selector = nil }, nil},
		{"any way to scale it down", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.ScaleDown = rollouts.WorkloadScaleDownProgressively }, nil},
		{"another version", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.APIVersion = "extensions/v1beta1" }, []string{`spec.workloadRef.apiVersion "apps/v1"`}},
		{"another kind", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.Kind = "StatefulSet" }, []string{`spec.workloadRef.kind "Deployment"`}},
		{"nothing but a name", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.APIVersion, r.Spec.WorkloadRef.Kind = "", "" },
			[]string{`spec.workloadRef.apiVersion "apps/v1"`, `spec.workloadRef.kind "Deployment"`}},
		{"no name", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.Name = "" }, []string{"spec.workloadRef.name must name a Deployment"}},
		{"a name that no Deployment can have", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.Name = "Web_1" }, []string{"spec.workloadRef.name must be the name of a Deployment"}},
		{"a way that there is not", func(r *rollouts.Rollout) { r.Spec.WorkloadRef.ScaleDown = "later" }, []string{`spec.workloadRef.scaleDown "never", "onsuccess", "progressively"`}},
		{"a template besides", func(r *rollouts.Rollout) { r.Spec.Template = validRollout().Spec.Template }, []string{"spec.template must be empty for workload reference rollout"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			r := validRollout()
			r.Spec.Template = corev1.PodTemplateSpec{}
			r.Spec.WorkloadRef = &rollouts.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
			test.change(r)
			left := slices.Clone(test.errors)
			for _, got := range ValidateRollout(r) {
				at := slices.IndexFunc(left, func(want string) bool {
					field, word, _ := strings.Cut(want, " ")
					return got.Field == field && strings.Contains(got.Detail, word)
				})
				if at < 0 {
					t.Errorf("unexpected: %v", got)
					continue
				}
				left = slices.Delete(left, at, at+1)
			}
			if len(left) > 0 {
				t.Errorf("missing: %v", left)
			}
		})
	}
}
