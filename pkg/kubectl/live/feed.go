// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Feed holds the objects of one list as the API server has them now, and says when any of them has changed.
// It is one list and one watch, which begin anew when the server ends them.
type Feed[T any] struct {
	what     string
	informer cache.SharedIndexInformer
	changed  chan struct{}
	failed   chan error

	mu      sync.Mutex
	problem error
}

// Lister is the part of a typed client that a Feed reads from.
type Lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// NewFeed returns a Feed that is not started yet. The options choose what is in it, what says it for people.
func NewFeed[T any, P interface {
	*T
	runtime.Object
}, L runtime.Object](what string, client Lister[L], options metav1.ListOptions) *Feed[T] {
	f := &Feed[T]{what: what, changed: make(chan struct{}, 1), failed: make(chan error, 1)}
	source := &listOnce{cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector, o.FieldSelector = options.LabelSelector, options.FieldSelector
			list, err := client.List(ctx, o)
			f.note(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector, o.FieldSelector = options.LabelSelector, options.FieldSelector
			w, err := client.Watch(ctx, o)
			f.note(err)
			return w, err
		},
	}}
	f.informer = cache.NewSharedIndexInformer(source, P(new(T)), 0, nil)
	return f
}

// listOnce is a source that is listed, then watched. Streaming the list would be of no use for so few
// objects, and would make a refusal of it look like a failure.
type listOnce struct{ cache.ListWatch }

// IsWatchListSemanticsUnSupported tells the informer to list.
func (*listOnce) IsWatchListSemanticsUnSupported() bool { return true }

// Start follows until the context ends. It returns when the list is there, or with the error if it cannot
// be had. Later errors are retried, and told by Problem.
func (f *Feed[T]) Start(ctx context.Context) error {
	notify := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.signal() },
		UpdateFunc: func(any, any) { f.signal() },
		DeleteFunc: func(any) { f.signal() },
	}
	if _, err := f.informer.AddEventHandler(notify); err != nil {
		return fmt.Errorf("cannot follow changes: %w", err)
	}
	// Failures are noted where they happen, so there is nothing left to do here but not to log them.
	if err := f.informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
		return fmt.Errorf("cannot follow changes: %w", err)
	}
	go f.informer.RunWithContext(ctx)
	select {
	case err := <-f.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-f.informer.HasSyncedChecker().Done():
		return nil
	}
}

// Objects are those there are now, in no order. They must not be modified.
func (f *Feed[T]) Objects() []*T {
	var objects []*T
	for _, object := range f.informer.GetStore().List() {
		objects = append(objects, object.(*T))
	}
	return objects
}

// Changed receives once after one or many changes.
func (f *Feed[T]) Changed() <-chan struct{} { return f.changed }

// Problem is why what the Feed holds may be out of date; nil if it is not.
func (f *Feed[T]) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem == nil {
		return nil
	}
	return fmt.Errorf("cannot watch %s, trying again: %w", f.what, f.problem)
}

// note remembers how the last call went. That a watch has ended, or must start anew, is normal.
func (f *Feed[T]) note(err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return
	}
	f.mu.Lock()
	before := f.problem
	f.problem = err
	f.mu.Unlock()
	if err != nil {
		select {
		case f.failed <- err:
		default:
		}
	}
	if (before == nil) != (err == nil) {
		f.signal()
	}
}

func (f *Feed[T]) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}
