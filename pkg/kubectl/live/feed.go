// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Feed follows lists of objects and says when any of them has changed. Add lists with Follow, then Start.
type Feed struct {
	changed   chan struct{}
	informers []cache.SharedIndexInformer

	mu       sync.Mutex
	problems map[string]error
	failed   chan error
}

// NewFeed returns a Feed that follows nothing yet.
func NewFeed() *Feed {
	return &Feed{changed: make(chan struct{}, 1), failed: make(chan error, 1), problems: map[string]error{}}
}

// Lister is the part of a typed client that a Feed reads from.
type Lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// Follow adds a list to a Feed that is not started yet. The options choose what is in it. The function
// that it returns gives what is in it now, in no order; it must not be modified.
func Follow[T any, P interface {
	*T
	runtime.Object
}, L runtime.Object](f *Feed, what string, client Lister[L], options metav1.ListOptions) func() []P {
	source := &listOnce{cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector, o.FieldSelector = options.LabelSelector, options.FieldSelector
			list, err := client.List(ctx, o)
			f.note(what, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector, o.FieldSelector = options.LabelSelector, options.FieldSelector
			w, err := client.Watch(ctx, o)
			f.note(what, err)
			return w, err
		},
	}}
	informer := cache.NewSharedIndexInformer(source, P(new(T)), 0, nil)
	f.informers = append(f.informers, informer)
	return func() []P {
		var objects []P
		for _, object := range informer.GetStore().List() {
			objects = append(objects, object.(P))
		}
		return objects
	}
}

// listOnce is a source that is listed, then watched. Streaming the list would be of no use for so few
// objects, and would make a refusal of it look like a failure.
type listOnce struct{ cache.ListWatch }

// IsWatchListSemanticsUnSupported tells the informer to list.
func (*listOnce) IsWatchListSemanticsUnSupported() bool { return true }

// Start follows until the context ends. It returns when every list is there, or with the error of the
// first that cannot be had. Later errors are retried, and told by Problem.
func (f *Feed) Start(ctx context.Context) error {
	notify := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.signal() },
		UpdateFunc: func(any, any) { f.signal() },
		DeleteFunc: func(any) { f.signal() },
	}
	for _, informer := range f.informers {
		if _, err := informer.AddEventHandler(notify); err != nil {
			return fmt.Errorf("cannot follow changes: %w", err)
		}
		// Failures are noted where they happen, so there is nothing left to do here but not to log them.
		if err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
			return fmt.Errorf("cannot follow changes: %w", err)
		}
		go informer.RunWithContext(ctx)
	}
	for _, informer := range f.informers {
		select {
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-informer.HasSyncedChecker().Done():
		}
	}
	return nil
}

// Changed receives once after one or many changes.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// Problem is why what the Feed holds may be out of date; nil if it is not.
func (f *Feed) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var problems []error
	for _, what := range slices.Sorted(maps.Keys(f.problems)) {
		problems = append(problems, fmt.Errorf("cannot watch %s, trying again: %w", what, f.problems[what]))
	}
	return errors.Join(problems...)
}

// note remembers how the last call for a list went. That a watch has ended, or must start anew, is normal.
func (f *Feed) note(what string, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return
	}
	f.mu.Lock()
	_, had := f.problems[what]
	if err == nil {
		delete(f.problems, what)
	} else {
		f.problems[what] = err
	}
	f.mu.Unlock()
	if err != nil {
		select {
		case f.failed <- err:
		default:
		}
	}
	if had != (err != nil) {
		f.signal()
	}
}

func (f *Feed) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}
