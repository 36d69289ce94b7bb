// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestSpecChanges(t *testing.T) {
	start := time.Now()
	at := func(generation, observed int64) *v1alpha1.Rollout {
		r := testRollout("demo")
		r.UID, r.Generation, r.Status.ObservedGeneration = "demo", generation, observed
		return r
	}
	other := at(2, 1)
	other.UID = "another"
	key := types.NamespacedName{Namespace: testNamespace, Name: "demo"}
	for _, tc := range []struct {
		rule   string
		before func(*specChanges)
		asked  *v1alpha1.Rollout
		want   time.Time
	}{
		{"a change waits since it was seen first", func(c *specChanges) { c.seen(at(2, 1), start); c.seen(at(2, 1), start.Add(time.Second)) }, at(2, 1), start},
		{"one after it counts anew", func(c *specChanges) { c.seen(at(2, 1), start); c.seen(at(3, 1), start.Add(time.Second)) }, at(3, 1), start.Add(time.Second)},
		{"what is observed does not wait", func(c *specChanges) { c.seen(at(2, 1), start); c.seen(at(2, 2), start) }, at(2, 2), time.Time{}},
		{"what has led to a write does not either", func(c *specChanges) { c.seen(at(2, 1), start); c.tell(at(2, 1)); c.seen(at(2, 1), start) }, at(2, 1), time.Time{}},
		{"what is gone is forgotten", func(c *specChanges) { c.seen(at(2, 1), start); c.forget(key) }, at(2, 1), time.Time{}},
		{"another of the name has nothing to do with it", func(c *specChanges) { c.seen(at(2, 1), start) }, other, time.Time{}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			c := newSpecChanges()
			tc.before(c)
			since, waiting := c.waiting(tc.asked)
			if waiting != !tc.want.IsZero() || waiting && !since.Equal(tc.want) {
				t.Errorf("waiting %v since %v, want since %v", waiting, since, tc.want)
			}
		})
	}
}
