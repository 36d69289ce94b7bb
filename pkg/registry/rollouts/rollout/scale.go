// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// replicasPaths is where each served version keeps the number that a Scale changes.
var replicasPaths = managedfields.ResourcePathMappings{
	v1alpha1.SchemeGroupVersion.String(): fieldpath.MakePathOrDie("spec", "replicas"),
}

// ScaleREST serves rollouts/scale, for kubectl scale and HorizontalPodAutoscalers.
type ScaleREST struct {
	store *genericregistry.Store
}

var (
	_ rest.Patcher                  = &ScaleREST{}
	_ rest.GroupVersionKindProvider = &ScaleREST{}
	_ rest.TableConvertor           = &ScaleREST{}
)

// GroupVersionKind says that the body is a Scale of autoscaling/v1, as for every scalable resource.
func (*ScaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New returns an empty Scale.
func (*ScaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the store is shared with REST.
func (*ScaleREST) Destroy() {}

// Get returns the Scale of a Rollout.
func (r *ScaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj.(*rollouts.Rollout)), nil
}

// Update changes spec.replicas of a Rollout. It never creates.
func (r *ScaleREST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	objInfo = applied(objInfo, forceAllowCreate)
	obj, _, err := r.store.Update(ctx, name, &scaledObjectInfo{name, objInfo},
		func(ctx context.Context, obj runtime.Object) error {
			return createValidation(ctx, scaleOf(obj.(*rollouts.Rollout)))
		},
		func(ctx context.Context, obj, old runtime.Object) error {
			return updateValidation(ctx, scaleOf(obj.(*rollouts.Rollout)), scaleOf(old.(*rollouts.Rollout)))
		}, false, options)
	if err != nil {
		return nil, false, err
	}
	return scaleOf(obj.(*rollouts.Rollout)), false, nil
}

// ConvertToTable prints the Scale.
func (r *ScaleREST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(rollouts.Resource("rollouts/scale")).ConvertToTable(ctx, object, options)
}

func scaleOf(rollout *rollouts.Rollout) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              rollout.Name,
			Namespace:         rollout.Namespace,
			UID:               rollout.UID,
			ResourceVersion:   rollout.ResourceVersion,
			CreationTimestamp: rollout.CreationTimestamp,
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: ptr.Deref(rollout.Spec.Replicas, v1alpha1.DefaultReplicas)},
		Status: autoscalingv1.ScaleStatus{Replicas: rollout.Status.HPAReplicas, Selector: rollout.Status.Selector},
	}
}

// scaledObjectInfo turns the stored Rollout into a Scale, lets the request change that, and puts the result
// back, the ownership of spec.replicas included.
type scaledObjectInfo struct {
	name    string
	objInfo rest.UpdatedObjectInfo
}

// Preconditions are those of the request.
func (i *scaledObjectInfo) Preconditions() *metav1.Preconditions { return i.objInfo.Preconditions() }

// UpdatedObject returns the scaled Rollout.
func (i *scaledObjectInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	rollout := old.DeepCopyObject().(*rollouts.Rollout)
	if rollout.ResourceVersion == "" {
		return nil, apierrors.NewNotFound(rollouts.Resource("rollouts"), i.name)
	}
	handler := managedfields.NewScaleHandler(rollout.ManagedFields, v1alpha1.SchemeGroupVersion, replicasPaths)
	oldScale := scaleOf(rollout)
	var err error
	if oldScale.ManagedFields, err = handler.ToSubresource(); err != nil {
		return nil, err
	}
	obj, err := i.objInfo.UpdatedObject(ctx, oldScale)
	if err != nil {
		return nil, err
	}
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the body must be a Scale of autoscaling/v1, not %T", obj))
	}
	if errs := apivalidation.ValidateNonnegativeField(int64(scale.Spec.Replicas), field.NewPath("spec", "replicas")); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), rollout.Name, errs)
	}
	if scale.UID != "" && scale.UID != rollout.UID {
		return nil, apierrors.NewConflict(rollouts.Resource("rollouts/scale"), rollout.Name,
			fmt.Errorf("the uid is %s, not %s as the request expects", rollout.UID, scale.UID))
	}
	rollout.Spec.Replicas = &scale.Spec.Replicas
	rollout.ResourceVersion = scale.ResourceVersion
	if rollout.ManagedFields, err = handler.ToParent(scale.ManagedFields); err != nil {
		return nil, err
	}
	return rollout, nil
}
