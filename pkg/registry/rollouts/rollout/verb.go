// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// VerbREST serves one verb of a Rollout as a subresource. A POST, a PUT and a PATCH perform it, in one
// transaction on the stored Rollout; a GET answers with the state that it would act on. What the verb does
// is its transition; here are only the rules that all verbs share.
type VerbREST struct {
	verb   verb
	store  *genericregistry.Store
	config *Config
	// owners keeps metadata.managedFields right where a verb changes the spec.
	owners *fieldOwners
}

var (
	_ rest.NamedCreater                   = &VerbREST{}
	_ rest.Patcher                        = &VerbREST{}
	_ rest.SubresourceObjectMetaPreserver = &VerbREST{}
	_ rest.TableConvertor                 = &VerbREST{}
)

// New returns an empty body.
func (r *VerbREST) New() runtime.Object { return r.verb.newBody() }

// Destroy does nothing: the store is shared with REST.
func (*VerbREST) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps uid and resourceVersion of a posted body:
// they are what the caller expects of the Rollout.
func (*VerbREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Get returns the state that a write would act on now.
func (r *VerbREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return fill(r.verb.newBody(), obj.(*rollouts.Rollout)), nil
}

// Create performs the verb with a posted body.
func (r *VerbREST) Create(ctx context.Context, name string, obj runtime.Object, createValidation rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	body, ok := obj.(rollouts.VerbBody)
	if !ok {
		return nil, r.wrongBody(obj)
	}
	if body.GetName() == "" {
		body.SetName(name)
	}
	return r.perform(ctx, name, options.DryRun, options.FieldManager, request{
		body: func(*rollouts.Rollout) (rollouts.VerbBody, error) { return body, nil },
		admit: func(*rollouts.Rollout) error {
			if createValidation == nil {
				return nil
			}
			return createValidation(ctx, body.DeepCopyObject())
		},
	})
}

// Update performs the verb with a body that was put, or that a patch makes of the current state.
func (r *VerbREST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	// Only server-side apply asks for what is not there to be created.
	if forceAllowCreate {
		return nil, false, apierrors.NewBadRequest(fmt.Sprintf("%s is a verb, not a state, so it cannot be applied: use POST, PUT or another kind of PATCH", r.verb.name))
	}
	var body rollouts.VerbBody
	state := func(current *rollouts.Rollout) rollouts.VerbBody {
		before := fill(r.verb.newBody(), current)
		// So that a resourceVersion in the body is one that the caller put there.
		before.SetResourceVersion("")
		return before
	}
	result, err := r.perform(ctx, name, options.DryRun, options.FieldManager, request{
		body: func(current *rollouts.Rollout) (rollouts.VerbBody, error) {
			obj, err := objInfo.UpdatedObject(ctx, state(current))
			if err != nil {
				return nil, err
			}
			var ok bool
			if body, ok = obj.(rollouts.VerbBody); !ok {
				return nil, r.wrongBody(obj)
			}
			return body, nil
		},
		admit: func(current *rollouts.Rollout) error {
			if updateValidation == nil {
				return nil
			}
			return updateValidation(ctx, body.DeepCopyObject(), state(current))
		},
	})
	return result, false, err
}

func (r *VerbREST) wrongBody(obj runtime.Object) error {
	return apierrors.NewBadRequest(fmt.Sprintf("the body of %s must be a %T, not a %T", r.verb.name, r.verb.newBody(), obj))
}

// ConvertToTable prints the state in the answer.
func (r *VerbREST) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	body, ok := object.(rollouts.VerbBody)
	if !ok {
		return nil, r.wrongBody(object)
	}
	return verbTable(body), nil
}

// fill puts the identity and the state of a Rollout into a body.
func fill(body rollouts.VerbBody, rollout *rollouts.Rollout) rollouts.VerbBody {
	body.SetName(rollout.Name)
	body.SetNamespace(rollout.Namespace)
	body.SetUID(rollout.UID)
	body.SetResourceVersion(rollout.ResourceVersion)
	body.SetCreationTimestamp(rollout.CreationTimestamp)
	*body.VerbStatus() = rollouts.VerbStatus{
		Phase:            rollout.Status.Phase,
		Message:          rollout.Status.Message,
		CurrentStepIndex: rollout.Status.CurrentStepIndex,
		Revision:         rollout.Status.Revision,
		CurrentPodHash:   rollout.Status.CurrentPodHash,
	}
	return body
}

// answer fills a body with what an action led to.
func answer(body rollouts.VerbBody, rollout *rollouts.Rollout, action *rollouts.RolloutAction) rollouts.VerbBody {
	fill(body, rollout)
	*body.VerbStatus() = rollouts.VerbStatus{
		Phase:            action.Phase,
		Message:          action.Message,
		CurrentStepIndex: action.ToStep,
		Revision:         action.Revision,
		CurrentPodHash:   action.PodHash,
		Action:           action,
	}
	return body
}
