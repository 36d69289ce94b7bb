// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
)

// retryStorage is what a client is told to wait when etcd has no leader. Unit: seconds.
const retryStorage = 1

// explainedStorage is storage whose failures for want of a quorum are told as what they are, 503 with the advice to
// try again, and not as an internal error.
type explainedStorage struct{ generic.RESTOptionsGetter }

// GetRESTOptions returns the options for a resource.
func (e explainedStorage) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := e.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	decorated := options.Decorator
	options.Decorator = func(config *storagebackend.ConfigForResource, prefix string, key func(runtime.Object) (string, error), newObject, newList func() runtime.Object,
		attributes storage.AttrFunc, trigger storage.IndexerFuncs, indexers *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
		made, destroy, err := decorated(config, prefix, key, newObject, newList, attributes, trigger, indexers)
		return explained{made}, destroy, err
	}
	return options, nil
}

type explained struct{ storage.Interface }

// Create stores an object.
func (e explained) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	return explain(e.Interface.Create(ctx, key, obj, out, ttl))
}

// Delete removes an object.
func (e explained) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions, validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions) error {
	return explain(e.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts))
}

// Watch tells of changes.
func (e explained) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	w, err := e.Interface.Watch(ctx, key, opts)
	return w, explain(err)
}

// Get reads an object.
func (e explained) Get(ctx context.Context, key string, opts storage.GetOptions, obj runtime.Object) error {
	return explain(e.Interface.Get(ctx, key, opts, obj))
}

// GetList reads objects.
func (e explained) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	return explain(e.Interface.GetList(ctx, key, opts, list))
}

// GuaranteedUpdate changes an object.
func (e explained) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object) error {
	return explain(e.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, update, cached))
}

// explain turns what etcd says when it cannot decide into an answer.
func explain(err error) error {
	if !undecided(err) {
		return err
	}
	answer := apierrors.NewServiceUnavailable("the store cannot decide at this moment, as when its leader has just gone: " + err.Error())
	answer.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: retryStorage}
	return answer
}

// undecided is true if etcd had no leader, or lost it, or could not be reached. Whether a write has happened is not known
// then; of a proposal that was dropped, as is done while a leader hands over to another, it has not.
func undecided(err error) bool {
	var said rpctypes.EtcdError
	if errors.As(err, &said) {
		return said.Code() == codes.Unavailable
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if s, ok := status.FromError(err); ok {
			return s.Code() == codes.Unavailable || s.Code() == codes.Unknown && s.Message() == raft.ErrProposalDropped.Error()
		}
	}
	return false
}
