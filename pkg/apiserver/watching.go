// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/controller/rollout"
	"sluice.dev/sluice/pkg/engine"
)

// errCold is what readiness and readers are told while the caches of the controller cannot be believed.
var errCold = errors.New("the caches of the controller are not warm yet")

// warm is the controller, once its caches are; the error is errCold before.
func (a *Acting) warm() (*rollout.Controller, error) {
	if controller := a.current.Load(); controller != nil && controller.Synced() {
		return controller, nil
	}
	return nil, errCold
}

// Observe is a Rollout with the ReplicaSets, pods and Services that the caches show of it. It fails while they are cold.
func (a *Acting) Observe(_ context.Context, r *rollouts.Rollout) (engine.Snapshot, error) {
	controller, err := a.warm()
	if err != nil {
		return engine.Snapshot{}, err
	}
	return controller.Look(r)
}

// ControllerState says whether any replica of the server acts on Rollouts.
func (a *Acting) ControllerState(ctx context.Context) engine.ControllerState {
	if controller := a.current.Load(); controller != nil {
		return controller.State(ctx)
	}
	return engine.ControllerState{Message: "the store is not known to be the one that owns the ReplicaSets"}
}

// Source is what trees of Rollouts are made of.
func (a *Acting) Source() Source { return Source{a} }

// Source shows the caches of the controller to whoever draws trees.
type Source struct{ acting *Acting }

// Keys are the names of the Rollouts of a namespace, or of all. It fails while the caches are cold.
func (s Source) Keys(namespace string) ([]types.NamespacedName, error) {
	controller, err := s.acting.warm()
	if err != nil {
		return nil, err
	}
	return controller.Keys(namespace), nil
}

// Observe is a Rollout with its ReplicaSets and pods; false if there is none.
func (s Source) Observe(key types.NamespacedName) (engine.Snapshot, bool) {
	controller, err := s.acting.warm()
	if err != nil {
		return engine.Snapshot{}, false
	}
	return controller.LookUp(key)
}

// Subscribe has changed called for every Rollout of which anything changes, until cancel. It must not block.
func (s Source) Subscribe(changed func(types.NamespacedName)) (cancel func()) {
	return s.acting.changes.subscribe(changed)
}

// changes tells whoever wants to know that something has changed. It outlives the controllers, which a gate that
// closes and opens again replaces.
type changes struct {
	mu   sync.RWMutex
	next int
	// all are the subscribers. It is replaced, never modified, so that telling holds no lock while they are called.
	all map[int]func(types.NamespacedName)
}

func (c *changes) tell(key types.NamespacedName) {
	c.mu.RLock()
	all := c.all
	c.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		all[id](key)
	}
}

func (c *changes) subscribe(changed func(types.NamespacedName)) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.next
	c.next++
	c.replace(func(all map[int]func(types.NamespacedName)) { all[id] = changed })
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.replace(func(all map[int]func(types.NamespacedName)) { delete(all, id) })
	}
}

func (c *changes) replace(change func(map[int]func(types.NamespacedName))) {
	all := maps.Clone(c.all)
	if all == nil {
		all = map[int]func(types.NamespacedName){}
	}
	change(all)
	c.all = all
}
