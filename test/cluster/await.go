// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// relistDelay is how long Await waits after a list or watch that failed, as it does while a server is
// down on purpose.
const relistDelay = 100 * time.Millisecond

// Source is objects that can be listed and watched.
type Source[T metav1.Object] struct {
	// Title names them in an error.
	Title string
	// List and Watch select them.
	List  func(context.Context) (runtime.Object, error)
	Watch func(ctx context.Context, resourceVersion string) (watch.Interface, error)
}

// Client lists and watches the objects of one kind, as the clients of Kubernetes do; L is their list.
type Client[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// SourceOf is what a client shows with these options.
func SourceOf[T metav1.Object, L runtime.Object](title string, client Client[L], options metav1.ListOptions) Source[T] {
	return Source[T]{
		Title: title,
		List:  func(ctx context.Context) (runtime.Object, error) { return client.List(ctx, options) },
		Watch: func(ctx context.Context, resourceVersion string) (watch.Interface, error) {
			since := options
			since.ResourceVersion = resourceVersion
			return client.Watch(ctx, since)
		},
	}
}

// Named selects one object.
func Named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}

// Rollout is one Rollout.
func (c *Cluster) Rollout(namespace, name string) Source[*v1alpha1.Rollout] {
	return SourceOf[*v1alpha1.Rollout]("rollout "+namespace+"/"+name, c.Sluice.SluiceV1alpha1().Rollouts(namespace), Named(name))
}

// ReplicaSets are those of a namespace that a label selector finds.
func (c *Cluster) ReplicaSets(namespace, selector string) Source[*appsv1.ReplicaSet] {
	options := metav1.ListOptions{LabelSelector: selector}
	return SourceOf[*appsv1.ReplicaSet]("replicasets of "+namespace+" with "+selector, c.Host.AppsV1().ReplicaSets(namespace), options)
}

// Pods are those of a namespace that a label selector finds.
func (c *Cluster) Pods(namespace, selector string) Source[*corev1.Pod] {
	options := metav1.ListOptions{LabelSelector: selector}
	return SourceOf[*corev1.Pod]("pods of "+namespace+" with "+selector, c.Host.CoreV1().Pods(namespace), options)
}

// Lease is one Lease.
func (c *Cluster) Lease(namespace, name string) Source[*coordinationv1.Lease] {
	return SourceOf[*coordinationv1.Lease]("lease "+namespace+"/"+name, c.Host.CoordinationV1().Leases(namespace), Named(name))
}

// Namespace is one namespace.
func (c *Cluster) Namespace(name string) Source[*corev1.Namespace] {
	return SourceOf[*corev1.Namespace]("namespace "+name, c.Host.CoreV1().Namespaces(), Named(name))
}

// Definition is one CustomResourceDefinition.
func (c *Cluster) Definition(name string) Source[*unstructured.Unstructured] {
	return c.clusterScoped(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, name)
}

// APIService is the registration of a version of an API group.
func (c *Cluster) APIService(name string) Source[*unstructured.Unstructured] {
	return c.clusterScoped(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}, name)
}

// clusterScoped is one object that is in no namespace, of a kind that has no client of its own here.
func (c *Cluster) clusterScoped(resource schema.GroupVersionResource, name string) Source[*unstructured.Unstructured] {
	title := strings.TrimSuffix(resource.Resource, "s") + " " + name
	return SourceOf[*unstructured.Unstructured](title, c.Dynamic.Resource(resource), Named(name))
}

// Condition has Await wait until an object is there and has a condition that is true. "kubectl wait" gives up on an
// object that has no conditions yet.
func Condition(name string) func([]*unstructured.Unstructured) string {
	return func(found []*unstructured.Unstructured) string {
		if len(found) == 0 {
			return "it is not there"
		}
		conditions, _, err := unstructured.NestedSlice(found[0].Object, "status", "conditions")
		if err != nil {
			return err.Error()
		}
		for _, condition := range conditions {
			if c, ok := condition.(map[string]any); ok && c["type"] == name && c["status"] == string(metav1.ConditionTrue) {
				return ""
			}
		}
		return fmt.Sprintf("it is not %s: %v", name, conditions)
	}
}

// Await watches the objects until nothing is lacking any more, and returns them, sorted by name. lacking
// looks at every state that the watch shows and says in words what it waits for; empty is enough. If the
// context ends first, the error tells those words. Servers that go down and come back are lived through.
func Await[T metav1.Object](ctx context.Context, source Source[T], lacking func([]T) string) ([]T, error) {
	last := "nothing was seen of them"
	for {
		var found []T
		err := follow(ctx, source, func(_ watch.EventType, _ T, objects map[types.UID]T) bool {
			found = slices.SortedFunc(maps.Values(objects), func(a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) })
			last = lacking(found)
			return last != ""
		})
		if err == nil && last == "" {
			return found, nil
		}
		select {
		case <-ctx.Done():
			if err != nil && ctx.Err() != err {
				return nil, fmt.Errorf("%s: %s (%w)", source.Title, last, err)
			}
			return nil, fmt.Errorf("%s: %s (%w)", source.Title, last, ctx.Err())
		case <-time.After(relistDelay):
		}
	}
}

// Now lists the objects as they are.
func (s Source[T]) Now(ctx context.Context) ([]T, error) {
	found, _, err := s.list(ctx)
	return found, err
}

// list returns the objects, and the version of the list that a watch can go on from.
func (s Source[T]) list(ctx context.Context) (found []T, resourceVersion string, err error) {
	list, err := s.List(ctx)
	if err != nil {
		return nil, "", err
	}
	err = meta.EachListItem(list, func(item runtime.Object) error {
		object, ok := item.(T)
		if !ok {
			return fmt.Errorf("a list of %s contains a %T", s.Title, item)
		}
		found = append(found, object)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, "", err
	}
	return found, accessor.GetResourceVersion(), nil
}

// follow lists and watches until see returns false, which gives nil, or the watch ends, which gives an
// error or, if the server ended it in an orderly way, nil as well. see gets every event, and all objects
// as they are after it; first it gets the list, with no event and no object of its own.
func follow[T metav1.Object](ctx context.Context, source Source[T], see func(watch.EventType, T, map[types.UID]T) bool) error {
	listed, version, err := source.list(ctx)
	if err != nil {
		return err
	}
	objects := map[types.UID]T{}
	for _, object := range listed {
		objects[object.GetUID()] = object
	}
	var none T
	if !see("", none, objects) {
		return nil
	}
	watcher, err := source.Watch(ctx, version)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-watcher.ResultChan():
			if !open {
				return nil
			}
			object, ok := event.Object.(T)
			if !ok {
				return fmt.Errorf("a watch of %s answered %v", source.Title, event.Object)
			}
			if event.Type == watch.Deleted {
				delete(objects, object.GetUID())
			} else {
				objects[object.GetUID()] = object
			}
			if !see(event.Type, object, objects) {
				return nil
			}
		}
	}
}
