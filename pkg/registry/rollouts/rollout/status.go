// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// StatusREST serves rollouts/status, by which the controller writes what it observed.
type StatusREST struct {
	store  *genericregistry.Store
	config *Config
}

var (
	_ rest.Patcher             = &StatusREST{}
	_ rest.ResetFieldsStrategy = &StatusREST{}
	_ rest.TableConvertor      = &StatusREST{}
)

// New returns an empty Rollout.
func (*StatusREST) New() runtime.Object { return &rollouts.Rollout{} }

// Destroy does nothing: the store is shared with REST.
func (*StatusREST) Destroy() {}

// Get returns the whole Rollout.
func (r *StatusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Update stores a changed status. It never creates.
func (r *StatusREST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	objInfo = rest.WrapUpdatedObjectInfo(applied(objInfo, forceAllowCreate), r.authorized)
	return r.store.Update(ctx, name, objInfo, createValidation, updateValidation, false, options)
}

// authorized is a rest.TransformFunc: it refuses a status that moves an update past what people are to decide,
// unless the caller has the right to.
func (r *StatusREST) authorized(ctx context.Context, obj, old runtime.Object) (runtime.Object, error) {
	rollout, ok := obj.(*rollouts.Rollout)
	stored, oldOK := old.(*rollouts.Rollout)
	if !ok || !oldOK || stored.ResourceVersion == "" {
		return obj, nil
	}
	return obj, r.config.mayRestate(ctx, rollout, stored)
}

// GetResetFields names what cannot be owned through status.
func (r *StatusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable prints the Rollout.
func (r *StatusREST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, object, options)
}
