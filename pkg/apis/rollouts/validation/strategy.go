// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"math"
	"slices"
	"strconv"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.2 and 1.5.

// validateTotal makes sure that pods can be counted: those of replicas and of maxSurge, or of two revisions, together.
func validateTotal(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	if spec.Replicas != nil && spec.Strategy.BlueGreen != nil && *spec.Replicas > math.MaxInt32/2 {
		return field.ErrorList{field.Invalid(path.Child("replicas"), *spec.Replicas, "must not be greater than "+strconv.Itoa(math.MaxInt32/2)+" with blueGreen, which may run twice as many pods")}
	}
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

func validateStrategy(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	strategy := &spec.Strategy
	switch {
	case strategy.Canary != nil && strategy.BlueGreen != nil:
		return field.ErrorList{field.Invalid(path, "blueGreen, canary", "exactly one strategy must be set: canary or blueGreen")}
	case strategy.Canary != nil:
		return validateCanary(spec, path.Child("canary"))
	case strategy.BlueGreen != nil:
		return validateBlueGreen(spec, path.Child("blueGreen"))
	default:
		return field.ErrorList{field.Required(path, "exactly one strategy must be set: canary or blueGreen")}
	}
}

func validateCanary(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	canary := spec.Strategy.Canary
	errs := validatePods(canary.MaxSurge, path.Child("maxSurge"))
	at := path.Child("maxUnavailable")
	errs = append(errs, validateUnavailable(canary.MaxUnavailable, at)...)
	if isZero(canary.MaxSurge) && isZero(canary.MaxUnavailable) {
		errs = append(errs, field.Invalid(at, canary.MaxUnavailable.String(), "must not be 0 when maxSurge is 0: no pod could ever be replaced"))
	}
	for i := range canary.Steps {
		errs = append(errs, validateStep(&canary.Steps[i], path.Child("steps").Index(i))...)
	}
	errs = append(errs, validateServices(path, "canaryService", canary.CanaryService, "stableService", canary.StableService)...)
	errs = append(errs, validateAntiAffinity(canary.AntiAffinity, path.Child("antiAffinity"))...)
	errs = append(errs, validatePodMetadata(spec, canary.CanaryMetadata, path.Child("canaryMetadata"))...)
	errs = append(errs, validatePodMetadata(spec, canary.StableMetadata, path.Child("stableMetadata"))...)
	return append(errs, validateThreshold(canary.ReplicaProgressThreshold, path.Child("replicaProgressThreshold"))...)
}

func validateBlueGreen(spec *rollouts.RolloutSpec, path *field.Path) field.ErrorList {
	blueGreen := spec.Strategy.BlueGreen
	var errs field.ErrorList
	if blueGreen.ActiveService == "" {
		errs = append(errs, field.Required(path.Child("activeService"), "must name the Service that clients use"))
	}
	errs = append(errs, validateServices(path, "activeService", blueGreen.ActiveService, "previewService", blueGreen.PreviewService)...)
	if count := blueGreen.PreviewReplicaCount; count != nil && *count < 1 {
		errs = append(errs, field.Invalid(path.Child("previewReplicaCount"), *count, "must be 1 or more; leave it out for as many as replicas"))
	}
	for name, value := range map[string]*int32{
		"autoPromotionSeconds":        blueGreen.AutoPromotionSeconds,
		"scaleDownDelaySeconds":       blueGreen.ScaleDownDelaySeconds,
		"scaleDownDelayRevisionLimit": blueGreen.ScaleDownDelayRevisionLimit,
		"abortScaleDownDelaySeconds":  blueGreen.AbortScaleDownDelaySeconds,
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(ptr.Deref(value, 0)), path.Child(name))...)
	}
	if limit, history := blueGreen.ScaleDownDelayRevisionLimit, spec.RevisionHistoryLimit; limit != nil && history != nil && *limit > *history {
		errs = append(errs, field.Invalid(path.Child("scaleDownDelayRevisionLimit"), *limit, "must not be greater than spec.revisionHistoryLimit, which is "+strconv.Itoa(int(*history))))
	}
	errs = append(errs, validateUnavailable(blueGreen.MaxUnavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, validateAntiAffinity(blueGreen.AntiAffinity, path.Child("antiAffinity"))...)
	errs = append(errs, validatePodMetadata(spec, blueGreen.ActiveMetadata, path.Child("activeMetadata"))...)
	return append(errs, validatePodMetadata(spec, blueGreen.PreviewMetadata, path.Child("previewMetadata"))...)
}

// validateServices validates the names of the two Services of a strategy, each of which may be left out.
func validateServices(path *field.Path, one, oneName, other, otherName string) field.ErrorList {
	var errs field.ErrorList
	for _, service := range []struct{ field, name string }{{one, oneName}, {other, otherName}} {
		if service.name == "" {
			continue
		}
		for _, problem := range apivalidation.NameIsDNS1035Label(service.name, false) {
			errs = append(errs, field.Invalid(path.Child(service.field), service.name, "must be the name of a Service: "+problem))
		}
	}
	if oneName != "" && oneName == otherName {
		errs = append(errs, field.Invalid(path.Child(other), otherName, "must not be the same as "+one+": a Service leads to one revision"))
	}
	return errs
}

func validateAntiAffinity(affinity *rollouts.AntiAffinity, path *field.Path) field.ErrorList {
	if affinity == nil {
		return nil
	}
	preferred := affinity.PreferredDuringSchedulingIgnoredDuringExecution
	if (preferred == nil) == (affinity.RequiredDuringSchedulingIgnoredDuringExecution == nil) {
		return field.ErrorList{field.Required(path, "exactly one of preferredDuringSchedulingIgnoredDuringExecution and requiredDuringSchedulingIgnoredDuringExecution must be set")}
	}
	if preferred != nil && (preferred.Weight < 1 || preferred.Weight > 100) {
		return field.ErrorList{field.Invalid(path.Child("preferredDuringSchedulingIgnoredDuringExecution", "weight"), preferred.Weight, validation.InclusiveRangeError(1, 100))}
	}
	return nil
}

// validatePodMetadata makes sure that what is put on pods that run can be, and changes neither whose they are nor
// which Services lead to them.
func validatePodMetadata(spec *rollouts.RolloutSpec, metadata *rollouts.PodTemplateMetadata, path *field.Path) field.ErrorList {
	if metadata == nil {
		return nil
	}
	errs := metav1validation.ValidateLabels(metadata.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(metadata.Annotations, path.Child("annotations"))...)
	for _, key := range sets.List(sets.KeySet(metadata.Labels)) {
		at := path.Child("labels").Key(key)
		switch {
		case key == rollouts.PodTemplateHashLabel:
			errs = append(errs, field.Forbidden(at, "is set by the server: leave it out"))
		case spec.Selector != nil && mentions(spec.Selector, key):
			errs = append(errs, field.Forbidden(at, "is used by spec.selector, which tells the pods of this Rollout from others"))
		}
	}
	return errs
}

func validateThreshold(threshold *rollouts.ReplicaProgressThreshold, path *field.Path) field.ErrorList {
	if threshold == nil {
		return nil
	}
	kinds := []rollouts.ProgressThresholdType{rollouts.ProgressThresholdPercent, rollouts.ProgressThresholdPods}
	if !slices.Contains(kinds, threshold.Type) {
		return field.ErrorList{field.NotSupported(path.Child("type"), threshold.Type, kinds)}
	}
	if threshold.Type == rollouts.ProgressThresholdPercent && (threshold.Value < 1 || threshold.Value > 100) {
		return field.ErrorList{field.Invalid(path.Child("value"), threshold.Value, validation.InclusiveRangeError(1, 100))}
	}
	if threshold.Value < 1 {
		return field.ErrorList{field.Invalid(path.Child("value"), threshold.Value, "must be 1 or more")}
	}
	return nil
}

// validateUnavailable accepts a number of pods or a percentage up to 100.
func validateUnavailable(value *intstr.IntOrString, path *field.Path) field.ErrorList {
	errs := validatePods(value, path)
	if percent, ok := percentage(value); ok && percent > 100 {
		errs = append(errs, field.Invalid(path, value.StrVal, "must not be greater than 100%"))
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
