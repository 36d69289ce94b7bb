// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
	"sluice.dev/sluice/pkg/engine"
)

// phaseField is the field selector that is indexed besides name and namespace.
const phaseField = "status.phase"

// strategy is how Rollouts are created and updated by clients: they own metadata and spec, while status
// follows from what they write.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	// observer shows the Services of the host; nil if nobody looks at them.
	observer Observer
	// writing is told of what is about to be stored; nil if nobody wants to know.
	writing func(context.Context, *rollouts.Rollout)
}

var (
	_ rest.RESTCreateStrategy              = strategy{}
	_ rest.RESTUpdateStrategy              = strategy{}
	_ rest.GarbageCollectionDeleteStrategy = strategy{}
	_ rest.ResetFieldsStrategy             = strategy{}
)

// DefaultGarbageCollectionPolicy deletes the ReplicaSets of a deleted Rollout unless the client says
// otherwise.
func (strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}

// NamespaceScoped is true: a Rollout lives where its pods live.
func (strategy) NamespaceScoped() bool { return true }

// GetResetFields names what clients cannot own on the main resource.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1alpha1.SchemeGroupVersion.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

// PrepareForCreate gives a new Rollout the status that its template, resolved before, implies.
func (s strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	rollout := obj.(*rollouts.Rollout)
	rollout.Status = rollouts.RolloutStatus{}
	rollout.Generation = 1
	if rollout.Spec.WorkloadRef != nil {
		rollout.Status = engine.Referring(rollout).Status
	} else if resolution := resolutionFrom(ctx); resolution != nil {
		rollout.Status = engine.Created(rollout, *resolution, userName(ctx)).Status
	}
	s.tell(ctx, rollout)
}

// Validate validates a new Rollout.
func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return validation.ValidateRollout(obj.(*rollouts.Rollout))
}

// WarningsOnCreate warns of names that are awkward in pods, and of Services that must be waited for.
func (s strategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	rollout := obj.(*rollouts.Rollout)
	var warnings []string
	if problems := utilvalidation.IsDNS1123Label(rollout.Name); len(problems) > 0 {
		warnings = append(warnings, fmt.Sprintf("metadata.name: it goes into pod names and hostnames, so a DNS label is recommended: %v", problems))
	}
	return append(append(warnings, s.serviceWarnings(ctx, rollout)...), s.workloadWarnings(ctx, rollout)...)
}

// Canonicalize does nothing: there is one way to write a Rollout.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate is false: a PUT to a name that does not exist is NotFound.
func (strategy) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate is true, as for a Deployment: a PUT without resourceVersion overwrites.
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

// PrepareForUpdate keeps the stored status but for what the change of spec implies, and counts the
// generation.
func (s strategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	rollout, stored := obj.(*rollouts.Rollout), old.(*rollouts.Rollout)
	rollout.Status = stored.Status
	if apiequality.Semantic.DeepEqual(rollout.Spec, stored.Spec) {
		return
	}
	rollout.Generation = stored.Generation + 1
	rollout.Status = engine.Edited(stored, rollout, resolutionFrom(ctx), userName(ctx)).Status
	s.tell(ctx, rollout)
}

// tell tells whoever wants to know that a Rollout is about to be stored.
func (s strategy) tell(ctx context.Context, rollout *rollouts.Rollout) {
	if s.writing != nil {
		s.writing(ctx, rollout)
	}
}

// ValidateUpdate validates a changed Rollout.
func (strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateRolloutUpdate(obj.(*rollouts.Rollout), old.(*rollouts.Rollout))
}

// WarningsOnUpdate warns, where the spec changes, of Services that must be waited for. The host's warnings on the
// template are passed on as they come.
func (s strategy) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	rollout := obj.(*rollouts.Rollout)
	if rollout.Generation == old.(*rollouts.Rollout).Generation {
		return nil
	}
	return append(s.serviceWarnings(ctx, rollout), s.workloadWarnings(ctx, rollout)...)
}

// statusStrategy is how the controller updates a Rollout: it owns status and nothing else.
type statusStrategy struct{ strategy }

// GetResetFields names what cannot be owned through status.
func (statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1alpha1.SchemeGroupVersion.String()): fieldpath.NewSet(
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "labels"),
			fieldpath.MakePathOrDie("metadata", "annotations"),
			fieldpath.MakePathOrDie("metadata", "finalizers"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
			fieldpath.MakePathOrDie("status", "actions"),
			fieldpath.MakePathOrDie("status", "approvals"),
			fieldpath.MakePathOrDie("status", "templateAuthors"),
		),
	}
}

// PrepareForUpdate keeps everything but the status, and of that what the server attests: only its own
// controller may clear some of it.
func (statusStrategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	rollout, stored := obj.(*rollouts.Rollout), old.(*rollouts.Rollout)
	if !isServer(ctx) {
		rollout.Status.Actions = stored.Status.Actions
		rollout.Status.Approvals = stored.Status.Approvals
		rollout.Status.TemplateAuthors = stored.Status.TemplateAuthors
	}
	rollout.Spec = stored.Spec
	rollout.Labels = stored.Labels
	rollout.Annotations = stored.Annotations
	rollout.Finalizers = stored.Finalizers
	rollout.OwnerReferences = stored.OwnerReferences
}

// ValidateUpdate validates a status.
func (statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateRolloutStatusUpdate(obj.(*rollouts.Rollout), old.(*rollouts.Rollout))
}

// userName is who makes a request; empty if that is not known.
func userName(ctx context.Context) string {
	if user, ok := genericapirequest.UserFrom(ctx); ok {
		return user.GetName()
	}
	return ""
}

// getAttrs is what selectors see of a Rollout.
func getAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	rollout, ok := obj.(*rollouts.Rollout)
	if !ok {
		return nil, nil, fmt.Errorf("not a Rollout: %T", obj)
	}
	set := generic.ObjectMetaFieldsSet(&rollout.ObjectMeta, true)
	set[phaseField] = string(rollout.Status.Phase)
	return rollout.Labels, set, nil
}

func match(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: getAttrs, IndexFields: []string{phaseField}}
}

// indexers make a list by phase cost what it returns, not what there is.
func indexers() *cache.Indexers {
	return &cache.Indexers{
		storage.FieldIndex(phaseField): func(obj any) ([]string, error) {
			rollout, ok := obj.(*rollouts.Rollout)
			if !ok {
				return nil, fmt.Errorf("not a Rollout: %T", obj)
			}
			return []string{string(rollout.Status.Phase)}, nil
		},
	}
}
