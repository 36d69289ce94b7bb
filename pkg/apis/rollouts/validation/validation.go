// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package validation says what a valid Rollout is. It is complete: what passes here, and is accepted by
// the host as a pod template, can be acted on. It imports the hub types, the engine's parsers and
// apimachinery.
package validation

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// maxNameLength leaves room for "-" and the hash in the name of a ReplicaSet, and for "-" and five more
// letters in the name of a pod.
const maxNameLength = validation.DNS1123SubdomainMaxLength - 17

// ValidateRolloutName says whether a Rollout may be called that; its ReplicaSets and pods extend the name.
func ValidateRolloutName(name string, prefix bool) []string {
	problems := apivalidation.NameIsDNSSubdomain(name, prefix)
	if len(name) > maxNameLength {
		problems = append(problems, validation.MaxLenError(maxNameLength))
	}
	return problems
}

// ValidateRollout validates a new Rollout.
func ValidateRollout(rollout *rollouts.Rollout) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&rollout.ObjectMeta, true, ValidateRolloutName, field.NewPath("metadata"))
	return append(errs, ValidateRolloutSpec(&rollout.Spec, field.NewPath("spec"))...)
}

// ValidateRolloutUpdate validates a changed Rollout against the one it replaces.
func ValidateRolloutUpdate(rollout, old *rollouts.Rollout) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&rollout.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	spec := field.NewPath("spec")
	errs = append(errs, ValidateRolloutSpec(&rollout.Spec, spec)...)
	if old.Spec.Selector == nil {
		return errs // It was that of a Deployment.
	}
	return append(errs, apivalidation.ValidateImmutableField(rollout.Spec.Selector, old.Spec.Selector, spec.Child("selector"))...)
}

// ValidateRolloutSpec validates a spec on its own. The inside of the template is left to the host.
func ValidateRolloutSpec(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Replicas != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*spec.Replicas), path.Child("replicas"))...)
	}
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	if spec.RevisionHistoryLimit != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*spec.RevisionHistoryLimit), path.Child("revisionHistoryLimit"))...)
	}
	errs = append(errs, validateSelector(spec, path)...)
	if spec.WorkloadRef != nil {
		errs = append(errs, validateWorkloadRef(spec, path)...)
	} else {
		errs = append(errs, validateTemplate(&spec.Template, path.Child("template"))...)
	}
	errs = append(errs, validateDeadline(spec, path)...)
	errs = append(errs, validateTotal(spec, path)...)
	if window := spec.RollbackWindow; window != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(window.Revisions), path.Child("rollbackWindow", "revisions"))...)
	}
	return append(errs, validateStrategy(spec, path.Child("strategy"))...)
}

func validateSelector(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	at := path.Child("selector")
	if spec.Selector == nil && spec.WorkloadRef != nil {
		return nil
	}
	if spec.Selector == nil {
		return field.ErrorList{field.Required(at, "must match the labels of spec.template")}
	}
	errs := metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, at)
	if len(spec.Selector.MatchLabels)+len(spec.Selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, spec.Selector, "must not be empty: it would select every pod of the namespace"))
	}
	if mentions(spec.Selector, rollouts.PodTemplateHashLabel) {
		errs = append(errs, field.Forbidden(at, "must not use the label "+rollouts.PodTemplateHashLabel+", which the server sets"))
	}
	if len(errs) > 0 {
		return errs
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return field.ErrorList{field.Invalid(at, spec.Selector, err.Error())}
	}
	if spec.WorkloadRef == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), spec.Template.Labels,
			"must match spec.selector, which is "+strconv.Quote(selector.String())))
	}
	return errs
}

func mentions(selector *metav1.LabelSelector, key string) bool {
	if _, ok := selector.MatchLabels[key]; ok {
		return true
	}
	for _, expression := range selector.MatchExpressions {
		if expression.Key == key {
			return true
		}
	}
	return false
}

func validateTemplate(template *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, ok := template.Labels[rollouts.PodTemplateHashLabel]; ok {
		errs = append(errs, field.Forbidden(path.Child("metadata", "labels").Key(rollouts.PodTemplateHashLabel), "is set by the server: leave it out"))
	}
	// Unset is right as well: the host defaults it to Always.
	if policy := template.Spec.RestartPolicy; policy != "" && policy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), policy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "pods of a Rollout run until they are replaced: leave it out"))
	}
	return errs
}

func validateDeadline(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	if spec.ProgressDeadlineSeconds == nil {
		return nil
	}
	at, deadline := path.Child("progressDeadlineSeconds"), *spec.ProgressDeadlineSeconds
	errs := apivalidation.ValidateNonnegativeField(int64(deadline), at)
	if deadline <= spec.MinReadySeconds {
		errs = append(errs, field.Invalid(at, deadline, "must be greater than spec.minReadySeconds, which is "+strconv.Itoa(int(spec.MinReadySeconds))))
	}
	return errs
}

// ValidateRolloutStatusUpdate validates a status that the controller writes.
func ValidateRolloutStatusUpdate(rollout, old *rollouts.Rollout) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&rollout.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	path, status := field.NewPath("status"), &rollout.Status
	for name, value := range map[string]int64{
		"observedGeneration": status.ObservedGeneration,
		"replicas":           int64(status.Replicas),
		"updatedReplicas":    int64(status.UpdatedReplicas),
		"readyReplicas":      int64(status.ReadyReplicas),
		"availableReplicas":  int64(status.AvailableReplicas),
		"HPAReplicas":        int64(status.HPAReplicas),
		"revision":           status.Revision,

		"workloadObservedGeneration": status.WorkloadObservedGeneration,
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(value, path.Child(name))...)
	}
	switch status.Phase {
	case rollouts.RolloutPhaseProgressing, rollouts.RolloutPhasePaused, rollouts.RolloutPhaseHealthy, rollouts.RolloutPhaseDegraded:
	default:
		errs = append(errs, field.NotSupported(path.Child("phase"), status.Phase, []rollouts.RolloutPhase{
			rollouts.RolloutPhaseProgressing, rollouts.RolloutPhasePaused, rollouts.RolloutPhaseHealthy, rollouts.RolloutPhaseDegraded}))
	}
	if index := status.CurrentStepIndex; index != nil && (*index < 0 || int(*index) > stepCount(old)) {
		errs = append(errs, field.Invalid(path.Child("currentStepIndex"), *index, validation.InclusiveRangeError(0, stepCount(old))))
	}
	return errs
}

func stepCount(rollout *rollouts.Rollout) int {
	if rollout.Spec.Strategy.Canary == nil {
		return 0
	}
	return len(rollout.Spec.Strategy.Canary.Steps)
}
