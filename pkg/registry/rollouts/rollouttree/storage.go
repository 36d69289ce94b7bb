// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// REST serves trees.
type REST struct {
	hub *hub
}

var (
	_ rest.Storage              = &REST{}
	_ rest.Scoper               = &REST{}
	_ rest.SingularNameProvider = &REST{}
	_ rest.Getter               = &REST{}
	_ rest.Lister               = &REST{}
	_ rest.Watcher              = &REST{}
)

// NewREST returns a storage that draws trees from a source; with none every request is answered with 503.
func NewREST(source Source, clock clock.WithTicker) *REST {
	if source == nil {
		return &REST{}
	}
	return &REST{hub: newHub(source, clock)}
}

// New returns an empty tree.
func (*REST) New() runtime.Object { return &rollouts.RolloutTree{} }

// NewList returns an empty list.
func (*REST) NewList() runtime.Object { return &rollouts.RolloutTreeList{} }

// Destroy ends all watches.
func (r *REST) Destroy() {
	if r.hub != nil {
		r.hub.close()
	}
}

// NamespaceScoped is true: a tree lives where its Rollout does.
func (*REST) NamespaceScoped() bool { return true }

// GetSingularName is the name of one.
func (*REST) GetSingularName() string { return "rollouttree" }

// Get returns the tree of a Rollout as it is now. It is 503 while the caches are cold.
func (r *REST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	key := types.NamespacedName{Namespace: genericapirequest.NamespaceValue(ctx), Name: name}
	if err := r.warm(key.Namespace); err != nil {
		return nil, err
	}
	if tree := r.hub.get(key); tree != nil {
		return tree, nil
	}
	return nil, apierrors.NewNotFound(rollouts.Resource("rollouttrees"), name)
}

// List returns trees as they are now. A resourceVersion that is asked for must be one of this server.
func (r *REST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	which, err := selectionOf(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := r.warm(which.namespace); err != nil {
		return nil, err
	}
	if options != nil && options.ResourceVersion != "" && options.ResourceVersion != "0" {
		if options.ResourceVersionMatch == metav1.ResourceVersionMatchExact && options.ResourceVersion != r.hub.now() || !r.hub.knows(options.ResourceVersion) {
			return nil, expired(options.ResourceVersion)
		}
	}
	list, err := r.hub.list(which)
	if err != nil {
		return nil, cold(err)
	}
	return list, nil
}

// Watch tells of changes of trees: at most two a second of each, and none if no row changed. From no version, or
// 0, it begins with all trees; from another with those that changed since. The error is 410 if that version is
// not known here any more.
func (r *REST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	which, err := selectionOf(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := r.warm(which.namespace); err != nil {
		return nil, err
	}
	begin := beginning{}
	if options != nil {
		begin.version, begin.bookmarks = options.ResourceVersion, options.AllowWatchBookmarks
		if begin.version == "0" {
			begin.version = ""
		}
		if options.SendInitialEvents != nil {
			begin.silent = !*options.SendInitialEvents && begin.version == ""
			begin.bookmarkEnd = *options.SendInitialEvents && options.AllowWatchBookmarks
		}
		if begin.bookmarkEnd && begin.version != "" {
			// All trees are wanted, no older than a version: they are as new as can be.
			if !r.hub.knows(begin.version) {
				return nil, expired(begin.version)
			}
			begin.version = ""
		}
	}
	watching, err := r.hub.watch(which, begin)
	if err != nil {
		return nil, cold(err)
	}
	return watching, nil
}

// warm is 503 while there is nothing to draw from.
func (r *REST) warm(namespace string) error {
	if r.hub == nil {
		return cold(fmt.Errorf("this server has no controller"))
	}
	if _, err := r.hub.source.Keys(namespace); err != nil {
		return cold(err)
	}
	return nil
}

// cold is 503, to be asked again in a second, for what is no answer yet.
func cold(err error) error {
	if _, answer := err.(apierrors.APIStatus); answer {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusServiceUnavailable,
		Reason:  metav1.StatusReasonServiceUnavailable,
		Message: err.Error(),
		Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	}}
}

// selectionOf is which trees a request wants.
func selectionOf(ctx context.Context, options *metainternalversion.ListOptions) (selection, error) {
	which := selection{namespace: genericapirequest.NamespaceValue(ctx)}
	if options == nil {
		return which, nil
	}
	which.labels = options.LabelSelector
	if options.FieldSelector == nil {
		return which, nil
	}
	for _, term := range options.FieldSelector.Requirements() {
		switch {
		case term.Operator != "=" && term.Operator != "==":
			return which, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector %s: trees are selected by equality only", options.FieldSelector))
		case term.Field == metav1.ObjectNameField:
			which.name = term.Value
		case term.Field == "metadata.namespace" && (which.namespace == "" || which.namespace == term.Value):
			which.namespace = term.Value
		case term.Field == "metadata.namespace":
			which.labels = labels.Nothing() // Of another namespace there is none here.
		default:
			return which, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector %s: trees are selected by metadata.name and metadata.namespace", options.FieldSelector))
		}
	}
	return which, nil
}
