// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package validation says what a valid Rollout is. It is complete: what passes here, and is accepted by
// the host as a pod template, can be acted on. It imports the hub types, the engine's parsers and
// apimachinery.
package validation

import (
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
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
	errs = append(errs, validateTemplate(&spec.Template, path.Child("template"))...)
	errs = append(errs, validateDeadline(spec, path)...)
	errs = append(errs, validateTotal(spec, path)...)
	return append(errs, validateStrategy(&spec.Strategy, path.Child("strategy"))...)
}

func validateSelector(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	at := path.Child("selector")
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
	if !selector.Matches(labels.Set(spec.Template.Labels)) {
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

// validateTotal makes sure that pods can be counted: those of replicas and of maxSurge together.
func validateTotal(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	if spec.Replicas == nil || spec.Strategy.Canary == nil || len(validatePods(spec.Strategy.Canary.MaxSurge, nil)) > 0 {
		return nil
	}
	canary, at := spec.Strategy.Canary, path.Child("strategy", "canary", "maxSurge")
	if canary.MaxSurge == nil {
		return nil
	}
	surge, err := intstr.GetScaledValueFromIntOrPercent(canary.MaxSurge, int(*spec.Replicas), true)
	if err != nil || surge < 0 || surge > math.MaxInt32-int(*spec.Replicas) {
		return field.ErrorList{field.Invalid(at, canary.MaxSurge.String(), "must not take the number of pods above "+strconv.Itoa(math.MaxInt32))}
	}
	return nil
}

func validateStrategy(strategy *rollouts.RolloutStrategy, path *field.Path) field.ErrorList {
	if strategy.Canary == nil {
		return field.ErrorList{field.Required(path, "exactly one strategy must be set: canary")}
	}
	return validateCanary(strategy.Canary, path.Child("canary"))
}

func validateCanary(canary *rollouts.CanaryStrategy, path *field.Path) field.ErrorList {
	errs := validatePods(canary.MaxSurge, path.Child("maxSurge"))
	at := path.Child("maxUnavailable")
	errs = append(errs, validatePods(canary.MaxUnavailable, at)...)
	if percent, ok := percentage(canary.MaxUnavailable); ok && percent > 100 {
		errs = append(errs, field.Invalid(at, canary.MaxUnavailable.StrVal, "must not be greater than 100%"))
	}
	if isZero(canary.MaxSurge) && isZero(canary.MaxUnavailable) {
		errs = append(errs, field.Invalid(at, canary.MaxUnavailable.String(), "must not be 0 when maxSurge is 0: no pod could ever be replaced"))
	}
	for i := range canary.Steps {
		errs = append(errs, validateStep(&canary.Steps[i], path.Child("steps").Index(i))...)
	}
	return errs
}

// validatePods accepts a number of pods or a percentage, not below 0.
func validatePods(value *intstr.IntOrString, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	if value.Type == intstr.Int {
		return apivalidation.ValidateNonnegativeField(int64(value.IntVal), path)
	}
	if problems := validation.IsValidPercent(value.StrVal); len(problems) > 0 {
		return field.ErrorList{field.Invalid(path, value.StrVal, "must be a number of pods (2) or a percentage (\"25%\")")}
	}
	return nil
}

func percentage(value *intstr.IntOrString) (int, bool) {
	if value == nil || value.Type != intstr.String || len(validation.IsValidPercent(value.StrVal)) > 0 {
		return 0, false
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(value.StrVal, "%"))
	// What is too long for a number is above every limit.
	if err != nil {
		return 101, true
	}
	return percent, true
}

// isZero is about the literal number. "0%" of both is accepted, as Argo Rollouts does: one pod may then be
// unavailable (argo.md 2.2).
func isZero(value *intstr.IntOrString) bool {
	return value != nil && value.Type == intstr.Int && value.IntVal == 0
}

func validateStep(step *rollouts.CanaryStep, path *field.Path) field.ErrorList {
	kinds := sets.New[string]()
	if step.SetWeight != nil {
		kinds.Insert("setWeight")
	}
	if step.Pause != nil {
		kinds.Insert("pause")
	}
	if kinds.Len() != 1 {
		return field.ErrorList{field.Invalid(path, strings.Join(sets.List(kinds), ", "), "exactly one of setWeight and pause must be set")}
	}
	if step.SetWeight != nil {
		if weight := *step.SetWeight; weight < 0 || weight > 100 {
			return field.ErrorList{field.Invalid(path.Child("setWeight"), weight, validation.InclusiveRangeError(0, 100))}
		}
		return nil
	}
	return validatePause(step.Pause, path.Child("pause"))
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
