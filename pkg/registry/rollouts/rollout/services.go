// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// serviceReference is a field that names a Service.
type serviceReference struct {
	at   *field.Path
	name string
}

// serviceReferences are the fields of a Rollout that name a Service, and do not leave it out.
func serviceReferences(spec *rollouts.RolloutSpec) []serviceReference {
	var all []serviceReference
	at := field.NewPath("spec", "strategy")
	if canary := spec.Strategy.Canary; canary != nil {
		all = append(all, serviceReference{at.Child("canary", "canaryService"), canary.CanaryService},
			serviceReference{at.Child("canary", "stableService"), canary.StableService})
	}
	if blueGreen := spec.Strategy.BlueGreen; blueGreen != nil {
		all = append(all, serviceReference{at.Child("blueGreen", "activeService"), blueGreen.ActiveService},
			serviceReference{at.Child("blueGreen", "previewService"), blueGreen.PreviewService})
	}
	return slices.DeleteFunc(all, func(r serviceReference) bool { return r.name == "" })
}

// serviceWarnings warn of Services that a Rollout will wait for (reference section 1.19, O5). That is no error: a
// Service may well be applied after the Rollout that names it. While the caches are not warm nobody knows, and nothing
// is said.
func (s strategy) serviceWarnings(ctx context.Context, rollout *rollouts.Rollout) []string {
	references := serviceReferences(&rollout.Spec)
	if len(references) == 0 || s.observer == nil {
		return nil
	}
	snapshot, err := s.observer.Observe(ctx, rollout)
	if err != nil {
		return nil
	}
	var warnings []string
	for _, reference := range references {
		i := slices.IndexFunc(snapshot.Services, func(service *corev1.Service) bool { return service.Name == reference.name })
		if i < 0 {
			warnings = append(warnings, fmt.Sprintf("%s: Service %q does not exist in namespace %q yet; the rollout waits for it", reference.at, reference.name, rollout.Namespace))
			continue
		}
		if by := snapshot.Services[i].Annotations[rollouts.ManagedByRolloutAnnotation]; by != "" && by != rollout.Name {
			warnings = append(warnings, fmt.Sprintf("%s: Service %q in namespace %q is managed by Rollout %q; the rollout waits until it is not", reference.at, reference.name, rollout.Namespace, by))
		}
	}
	return warnings
}
