// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// caches stand for those of the controller.
type caches struct {
	mu          sync.Mutex
	err         error
	all         map[types.NamespacedName]engine.Snapshot
	observed    int
	subscribers map[int]func(types.NamespacedName)
}

func (c *caches) Keys(namespace string) (keys []types.NamespacedName, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.all {
		if namespace == "" || key.Namespace == namespace {
			keys = append(keys, key)
		}
	}
	return keys, c.err
}

func (c *caches) Observe(key types.NamespacedName) (engine.Snapshot, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed++
	s, found := c.all[key]
	return s, found
}

func (c *caches) Subscribe(changed func(types.NamespacedName)) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := len(c.subscribers)
	c.subscribers[id] = changed
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subscribers, id)
	}
}

// set changes a Rollout; nil takes it away.
func (c *caches) set(name string, change func(*rollouts.Rollout)) {
	key := types.NamespacedName{Namespace: "shop", Name: name}
	c.mu.Lock()
	s, found := c.all[key]
	if !found {
		s = canary(name)
	}
	if change == nil {
		delete(c.all, key)
	} else {
		s.Rollout = s.Rollout.DeepCopy()
		change(s.Rollout)
		c.all[key] = s
	}
	var tell []func(types.NamespacedName)
	for _, s := range c.subscribers {
		tell = append(tell, s)
	}
	c.mu.Unlock()
	for _, s := range tell {
		s(key)
	}
}

// same changes nothing.
func same(*rollouts.Rollout) {}

// ready sets how many pods are ready.
func ready(n int32) func(*rollouts.Rollout) {
	return func(r *rollouts.Rollout) { r.Status.ReadyReplicas = n }
}

type fixture struct {
	*REST
	*caches
	clock *clocktesting.FakeClock
	t     *testing.T
}

func newFixture(t *testing.T, names ...string) *fixture {
	f := &fixture{caches: &caches{all: map[types.NamespacedName]engine.Snapshot{}, subscribers: map[int]func(types.NamespacedName){}}, clock: clocktesting.NewFakeClock(time.Now()), t: t}
	for _, name := range names {
		f.set(name, same)
	}
	f.REST = NewREST(f.caches, f.clock)
	t.Cleanup(f.Destroy)
	return f
}

var inShop = genericapirequest.WithNamespace(context.Background(), "shop")

func (f *fixture) list(options *metainternalversion.ListOptions) *rollouts.RolloutTreeList {
	f.t.Helper()
	obj, err := f.List(inShop, options)
	if err != nil {
		f.t.Fatal(err)
	}
	return obj.(*rollouts.RolloutTreeList)
}

func (f *fixture) watch(options metainternalversion.ListOptions) watch.Interface {
	f.t.Helper()
	w, err := f.Watch(inShop, &options)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(w.Stop)
	return w
}

// next is the next event, as "ADDED demo 4".
func (f *fixture) next(w watch.Interface) string {
	f.t.Helper()
	select {
	case event, open := <-w.ResultChan():
		if !open {
			f.t.Fatal("the watch has ended")
		}
		tree := event.Object.(*rollouts.RolloutTree)
		text := fmt.Sprintf("%s %s %d", event.Type, tree.Name, tree.Rollout.ReadyReplicas)
		if tree.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
			text += " end"
		}
		if tree.ResourceVersion == "" {
			f.t.Errorf("%s has no resourceVersion", text)
		}
		return text
	case <-time.After(patience):
		f.t.Fatal("no event")
		return ""
	}
}

func (f *fixture) expect(w watch.Interface, want ...string) {
	f.t.Helper()
	for _, event := range want {
		if got := f.next(w); got != event {
			f.t.Fatalf("got %q, want %q", got, event)
		}
	}
}

// pass lets the time go by that a tree needs to be allowed to change again.
func (f *fixture) pass() { f.clock.Step(leastInterval) }

func named(name string) fields.Selector {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, name)
}
