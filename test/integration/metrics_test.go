// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// ownSeries counts the series of our own metrics, by name, that the server in this process has.
func ownSeries(t *testing.T) map[string]int {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "sluice_") {
			found[family.GetName()] = len(family.GetMetric())
		}
	}
	if len(found) < 5 {
		t.Fatalf("the metrics of this server are %v", found)
	}
	return found
}

// Two hundred Rollouts make no more series than a few.
func TestSeriesDoNotGrowWithRollouts(t *testing.T) {
	const few, many, atOnce = 10, 200, 16
	s := start(t, newNamespace(t), t.TempDir())
	rollouts := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	var next atomic.Int64
	create := func(count int) {
		t.Helper()
		var all errgroup.Group
		all.SetLimit(atOnce)
		for i := range count {
			all.Go(func() error {
				r := newRollout(fmt.Sprint("counted-", next.Add(1)), weight(50), pause())
				r.Spec.Replicas = ptr.To[int32](0)
				if _, err := rollouts.Create(t.Context(), r, metav1.CreateOptions{}); err != nil || i >= few && i < count-1 {
					return err
				}
				_, err := rollouts.Pause(t.Context(), r.Name, &v1alpha1.Pause{}, metav1.CreateOptions{})
				return err
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		s.awaitAll(t, int(next.Load()))
	}
	create(few)
	before := ownSeries(t)
	create(many)
	for name, count := range ownSeries(t) {
		// Which phases and results there are at the moment may differ.
		if bound := before[name] + 5; count > bound {
			t.Errorf("%s has %d series with %d Rollouts, and had %d with %d", name, count, few+many, before[name], few)
		}
	}
}

// awaitAll waits until the controller has looked at so many Rollouts.
func (s *instance) awaitAll(t *testing.T, count int) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return len(list.Items) == count && !slices.ContainsFunc(list.Items, func(r v1alpha1.Rollout) bool { return !healthy(&r) && !paused(&r) }), nil
	})
	if err != nil {
		t.Fatalf("waiting for %d Rollouts to be looked at: %v", count, err)
	}
}
