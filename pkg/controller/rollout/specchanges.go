// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// specChanges remembers since when a change of the spec of a Rollout waits to be acted on, until it is observed.
type specChanges struct {
	mu  sync.Mutex
	all map[types.NamespacedName]specChange
}

type specChange struct {
	uid        types.UID
	generation int64
	since      time.Time
	// told is true if it has led to a write.
	told bool
}

func newSpecChanges() *specChanges { return &specChanges{all: map[types.NamespacedName]specChange{}} }

// seen takes up a Rollout as the cache shows it now.
func (c *specChanges) seen(r *v1alpha1.Rollout, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
	if r.Generation <= r.Status.ObservedGeneration {
		delete(c.all, key)
		return
	}
	if known, ok := c.all[key]; !ok || known.uid != r.UID || known.generation != r.Generation {
		c.all[key] = specChange{uid: r.UID, generation: r.Generation, since: now}
	}
}

func (c *specChanges) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, key)
}

// waiting returns since when the last change of the spec of a Rollout waits for its first write; false if none does.
func (c *specChanges) waiting(r *v1alpha1.Rollout) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.all[types.NamespacedName{Namespace: r.Namespace, Name: r.Name}]
	return known.since, ok && known.uid == r.UID && known.generation == r.Generation && !known.told
}

// tell notes that the change has led to a write.
func (c *specChanges) tell(r *v1alpha1.Rollout) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
	if known, ok := c.all[key]; ok && known.generation == r.Generation {
		known.told = true
		c.all[key] = known
	}
}
