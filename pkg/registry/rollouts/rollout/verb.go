// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// VerbREST serves one verb of a Rollout as a subresource. A POST, a PUT and a PATCH perform it, in one
// transaction on the stored Rollout; a GET answers with the state that it would act on. What the verb does
// is its transition; here are only the rules that all verbs share.
type VerbREST struct {
	verb  verb
	store *genericregistry.Store
	clock clock.PassiveClock
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
	if body.GetName() != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name is %q, but the request is for %q", body.GetName(), name))
	}
	return r.perform(ctx, name, dryrun.IsDryRun(options.DryRun), func(*rollouts.Rollout) (rollouts.VerbBody, error) {
		if createValidation != nil {
			if err := createValidation(ctx, body.DeepCopyObject()); err != nil {
				return nil, err
			}
		}
		return body, nil
	})
}

// Update performs the verb with a body that was put, or that a patch makes of the current state.
func (r *VerbREST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	// Only server-side apply asks for what is not there to be created.
	if forceAllowCreate {
		return nil, false, apierrors.NewBadRequest(fmt.Sprintf("%s is a verb, not a state, so it cannot be applied: use POST, PUT or another kind of PATCH", r.verb.name))
	}
	result, err := r.perform(ctx, name, dryrun.IsDryRun(options.DryRun), func(current *rollouts.Rollout) (rollouts.VerbBody, error) {
		before := fill(r.verb.newBody(), current)
		// So that a resourceVersion in the body is one that the caller put there.
		before.SetResourceVersion("")
		obj, err := objInfo.UpdatedObject(ctx, before)
		if err != nil {
			return nil, err
		}
		body, ok := obj.(rollouts.VerbBody)
		if !ok {
			return nil, r.wrongBody(obj)
		}
		if updateValidation != nil {
			if err := updateValidation(ctx, body.DeepCopyObject(), before); err != nil {
				return nil, err
			}
		}
		return body, nil
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

// perform runs the transition of the verb on the stored Rollout. The body, and with it admission, is asked
// for once, on a fresh read. A conflict with the controller's own writes is then retried, while one with
// anybody else's is answered, since the caller did not mean the state that it led to.
func (r *VerbREST) perform(ctx context.Context, name string, dryRun bool, bodyFor func(*rollouts.Rollout) (rollouts.VerbBody, error)) (runtime.Object, error) {
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	first := obj.(*rollouts.Rollout)
	body, err := bodyFor(first)
	if err != nil {
		return nil, err
	}
	stored := &rollouts.Rollout{}
	err = r.store.Storage.GuaranteedUpdate(ctx, key, stored, false, nil, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		current := obj.(*rollouts.Rollout)
		if err := r.check(first, current, body); err != nil {
			return nil, err
		}
		changed, err := r.verb.act(current, body, r.clock.Now())
		if err != nil {
			return nil, r.refused(current, err)
		}
		return changed, nil
	}), dryRun, nil)
	if err != nil {
		err = storeerrors.InterpretGetError(err, rollouts.Resource("rollouts"), name)
		return nil, storeerrors.InterpretUpdateError(err, rollouts.Resource("rollouts"), name)
	}
	return fill(r.verb.newBody(), stored), nil
}

// check holds the Rollout that is about to be changed against what the caller expects of it.
func (r *VerbREST) check(first, current *rollouts.Rollout, body rollouts.VerbBody) error {
	if (storage.APIObjectVersioner{}).CompareResourceVersion(current, first) < 0 {
		// The store tries its cache first, and asks again when that turns out to be behind.
		return r.conflict(current, "", "the cache is behind the store")
	}
	if uid := body.GetUID(); uid != "" && uid != current.UID {
		return r.conflict(current, "metadata.uid", fmt.Sprintf("the uid is %s, not %s", current.UID, uid))
	}
	if version := body.GetResourceVersion(); version != "" && version != current.ResourceVersion {
		return r.conflict(current, "metadata.resourceVersion", fmt.Sprintf("the resourceVersion is %s, not %s", current.ResourceVersion, version))
	}
	if current.DeletionTimestamp != nil {
		return r.refused(current, &engine.Refusal{Reason: "BeingDeleted", Message: "the rollout is being deleted"})
	}
	if !r.verb.absolute && !engine.SameState(first, current) {
		return r.conflict(current, "", "the rollout was changed at the same time: look at it and try again")
	}
	return nil
}

func (r *VerbREST) conflict(rollout *rollouts.Rollout, field, message string) error {
	err := apierrors.NewConflict(rollouts.Resource("rollouts/"+r.verb.name), rollout.Name, errors.New(message))
	err.ErrStatus.Details.UID = rollout.UID
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: "PreconditionFailed", Field: field, Message: message}}
	return err
}

// refused turns a refusal of the engine into 409 with its reason as the machine-readable cause.
func (r *VerbREST) refused(rollout *rollouts.Rollout, err error) error {
	var refusal *engine.Refusal
	if !errors.As(err, &refusal) {
		return apierrors.NewInternalError(err)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusConflict,
		Reason:  metav1.StatusReasonConflict,
		Message: fmt.Sprintf("cannot %s rollout %q: %s", r.verb.name, rollout.Name, refusal.Message),
		Details: &metav1.StatusDetails{
			Group:             rollouts.GroupName,
			Kind:              "rollouts",
			Name:              rollout.Name,
			UID:               rollout.UID,
			RetryAfterSeconds: int32(math.Ceil(refusal.RetryAfter.Seconds())),
			Causes:            []metav1.StatusCause{{Type: metav1.CauseType(refusal.Reason), Message: refusal.Message}},
		},
	}}
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
