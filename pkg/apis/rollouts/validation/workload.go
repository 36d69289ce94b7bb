// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.1 (B2 to B4) and 1.14 (W1 to W4). Only Deployments are served: nothing else that has a
// template can be scaled down for a Rollout, nor take its pods back.

// The only workload that can be referred to.
const (
	workloadAPIVersion = "apps/v1"
	workloadKind       = "Deployment"
)

// validateWorkloadRef validates the reference of a spec that has one.
func validateWorkloadRef(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	ref, at := spec.WorkloadRef, path.Child("workloadRef")
	var errs field.ErrorList
	if !apiequality.Semantic.DeepEqual(spec.Template, corev1.PodTemplateSpec{}) {
		// The inside may be large, and says nothing.
		errs = append(errs, field.Forbidden(path.Child("template"), "template must be empty for workload reference rollout"))
	}
	if ref.APIVersion != workloadAPIVersion {
		errs = append(errs, field.NotSupported(at.Child("apiVersion"), ref.APIVersion, []string{workloadAPIVersion}))
	}
	if ref.Kind != workloadKind {
		errs = append(errs, field.NotSupported(at.Child("kind"), ref.Kind, []string{workloadKind}))
	}
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "must name a Deployment in the namespace of the Rollout"))
	} else {
		for _, problem := range apivalidation.NameIsDNSSubdomain(ref.Name, false) {
			errs = append(errs, field.Invalid(at.Child("name"), ref.Name, "must be the name of a Deployment: "+problem))
		}
	}
	modes := []rollouts.WorkloadScaleDown{
		rollouts.WorkloadScaleDownNever, rollouts.WorkloadScaleDownOnSuccess, rollouts.WorkloadScaleDownProgressively,
	}
	if ref.ScaleDown != "" && !slices.Contains(modes, ref.ScaleDown) {
		errs = append(errs, field.NotSupported(at.Child("scaleDown"), ref.ScaleDown, modes))
	}
	return errs
}
