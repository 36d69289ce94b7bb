// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Config is what the storage of Rollouts depends on.
type Config struct {
	// Scheme knows the hub types and every served version.
	Scheme *runtime.Scheme
	// Options say where and how objects are stored.
	Options generic.RESTOptionsGetter
	// Templates resolves the pod templates that clients write.
	Templates TemplateResolver
	// Deleted is called after a Rollout has left the store; nil if nobody wants to know.
	Deleted func(types.UID)
	// Clock tells the verbs what time it is.
	Clock clock.PassiveClock
	// Types describe the served version to whoever reckons the owners of fields.
	Types managedfields.TypeConverter
	// Authorizer says who has the rights that a request turns out to need besides that to make it.
	Authorizer authorizer.Authorizer
	// Admission are the plugins that are shown the change that a verb makes; nil if there are none.
	Admission admission.Interface
	// Revisions finds the ReplicaSets of a Rollout, for undo.
	Revisions Revisions
	// Observer shows what the controller sees, for plan and explain, which are 503 if it is nil, and for warnings of
	// Services that are not there.
	Observer Observer
	// Writing is told of each Rollout that a request changes, just before it is stored, if it is; nil if nobody wants to
	// know.
	Writing func(ctx context.Context, rollout *rollouts.Rollout)
	// Performed is told of each verb that was performed, after it was stored; nil if nobody wants to know.
	Performed func(rollout *rollouts.Rollout, action *rollouts.RolloutAction)
}

// Revisions finds the ReplicaSets that a Rollout controls, as they are in the host now.
type Revisions interface {
	ReplicaSets(ctx context.Context, rollout *rollouts.Rollout) ([]*appsv1.ReplicaSet, error)
}

// Storage is the storage of Rollouts and of each of their subresources.
type Storage struct {
	Rollout *REST
	Status  *StatusREST
	Scale   *ScaleREST
	Plan    *PlanREST
	Explain *ExplainREST
	// Verbs are the storages of the verbs, by the name of the subresource.
	Verbs map[string]rest.Storage
}

// REST stores Rollouts.
type REST struct {
	*genericregistry.Store
	config *Config
}

var (
	_ rest.StandardStorage     = &REST{}
	_ rest.ShortNamesProvider  = &REST{}
	_ rest.CategoriesProvider  = &REST{}
	_ rest.TableConvertor      = &REST{}
	_ rest.ResetFieldsStrategy = &REST{}
)

// NewStorage returns the storages, which share one store.
func NewStorage(config Config) (*Storage, error) {
	main := strategy{config.Scheme, names.SimpleNameGenerator, config.Observer, config.Writing}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &rollouts.Rollout{} },
		NewListFunc:               func() runtime.Object { return &rollouts.RolloutList{} },
		PredicateFunc:             match,
		DefaultQualifiedResource:  rollouts.Resource("rollouts"),
		SingularQualifiedResource: rollouts.Resource("rollout"),
		CreateStrategy:            main,
		UpdateStrategy:            main,
		DeleteStrategy:            main,
		ResetFieldsStrategy:       main,
		TableConvertor:            table{},
	}
	if config.Deleted != nil {
		store.AfterDelete = func(obj runtime.Object, options *metav1.DeleteOptions) {
			if rollout, ok := obj.(*rollouts.Rollout); ok && !dryrun.IsDryRun(options.DryRun) {
				config.Deleted(rollout.UID)
			}
		}
	}
	options := &generic.StoreOptions{RESTOptions: config.Options, AttrFunc: getAttrs, Indexers: indexers()}
	if err := store.CompleteWithOptions(options); err != nil {
		return nil, err
	}
	status := *store
	status.UpdateStrategy = statusStrategy{main}
	status.ResetFieldsStrategy = statusStrategy{main}
	verbs, err := newVerbs(store, &config)
	if err != nil {
		return nil, err
	}
	return &Storage{
		Rollout: &REST{Store: store, config: &config},
		Status:  &StatusREST{store: &status, config: &config},
		Scale:   &ScaleREST{store: store},
		Plan:    &PlanREST{store: store, config: &config},
		Explain: &ExplainREST{store: store, config: &config},
		Verbs:   verbs,
	}, nil
}

// ShortNames lets kubectl say ro.
func (*REST) ShortNames() []string { return []string{"ro"} }

// Categories lets kubectl get all list Rollouts.
func (*REST) Categories() []string { return []string{"all"} }

// Create stores a new Rollout whose template the host accepts.
func (r *REST) Create(ctx context.Context, obj runtime.Object, createValidation rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	ctx, write := withTemplateWrite(ctx, r.config.Templates)
	if rollout, ok := obj.(*rollouts.Rollout); ok {
		if err := write.onCreate(ctx, rollout); err != nil {
			return nil, err
		}
	}
	return r.Store.Create(ctx, obj, createValidation, options)
}

// Update stores a changed Rollout; a changed template must be one that the host accepts.
func (r *REST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	ctx, write := withTemplateWrite(ctx, r.config.Templates)
	objInfo = explainedInfo{objInfo, name}
	objInfo = applied(objInfo, forceAllowCreate)
	return r.Store.Update(ctx, name, rest.WrapUpdatedObjectInfo(objInfo, r.authorized, write.onUpdate, r.returned), createValidation, updateValidation, forceAllowCreate, options)
}

// authorized is a rest.TransformFunc: it refuses an update that takes away what people are to decide, unless
// the caller has the right to.
func (r *REST) authorized(ctx context.Context, obj, old runtime.Object) (runtime.Object, error) {
	rollout, ok := obj.(*rollouts.Rollout)
	stored, oldOK := old.(*rollouts.Rollout)
	if !ok || !oldOK || stored.ResourceVersion == "" {
		return obj, nil
	}
	return obj, r.config.mayEdit(ctx, rollout, stored)
}

// returned is a rest.TransformFunc for when the revision of a changed template is known: it refuses a return to an
// earlier one that skips what people are to decide, unless the caller has the right to.
func (r *REST) returned(ctx context.Context, obj, old runtime.Object) (runtime.Object, error) {
	rollout, ok := obj.(*rollouts.Rollout)
	stored, oldOK := old.(*rollouts.Rollout)
	if !ok || !oldOK || stored.ResourceVersion == "" || isServer(ctx) {
		return obj, nil
	}
	return obj, r.config.needs(ctx, stored.Name, engine.RightsToReturn(stored, rollout, resolutionFrom(ctx)))
}

// applied is the object of a request, which is a server-side apply if it is to be created where it is not
// there: nothing else asks for that.
func applied(objInfo rest.UpdatedObjectInfo, forceAllowCreate bool) rest.UpdatedObjectInfo {
	if forceAllowCreate {
		return appliedObjectInfo{objInfo}
	}
	return objInfo
}

// appliedObjectInfo is the object of a server-side apply. An applied configuration with an unknown field or a
// key twice makes the field manager return a bare error, which would be answered as a failure of ours; it is
// the client's.
type appliedObjectInfo struct{ rest.UpdatedObjectInfo }

// UpdatedObject returns the object with the configuration applied.
func (i appliedObjectInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj, err := i.UpdatedObjectInfo.UpdatedObject(ctx, old)
	var answer apierrors.APIStatus
	if err == nil || errors.As(err, &answer) || ctx.Err() != nil {
		return obj, err
	}
	return nil, apierrors.NewBadRequest(err.Error())
}

// UIDs returns every stored Rollout as namespace/name, by UID. It reads the store as it is now.
func (r *REST) UIDs(ctx context.Context) (map[types.UID]string, error) {
	everywhere := genericapirequest.WithNamespace(ctx, metav1.NamespaceAll)
	obj, err := r.ListPredicate(everywhere, storage.Everything, &metainternalversion.ListOptions{})
	if err != nil {
		return nil, err
	}
	list, ok := obj.(*rollouts.RolloutList)
	if !ok {
		return nil, fmt.Errorf("the store listed %T instead of Rollouts", obj)
	}
	uids := make(map[types.UID]string, len(list.Items))
	for i := range list.Items {
		uids[list.Items[i].UID] = list.Items[i].Namespace + "/" + list.Items[i].Name
	}
	return uids, nil
}
