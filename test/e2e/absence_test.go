// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/test/cluster"
)

const (
	// usable is how long kubectl may take for what is not ours. That is alone the time of its process on a busy machine.
	usable = 15 * time.Second
	// noticed is how long kube-apiserver may take to see that the server has gone, or is back: it looks every 30 s, and
	// asks several times.
	noticed = 50 * time.Second
	// nextTry is how long kube-controller-manager waits at most between two tries to empty a namespace, and what it then
	// needs.
	nextTry = 60*time.Second + 15*time.Second
	// nudged is how long a namespace takes that was changed: 5 s after any change it is tried again.
	nudged = 25 * time.Second
	// collected is how long the garbage collector and the quota may take on a busy machine. It looks for new kinds every 30 s.
	collected = 60 * time.Second
)

// serverAway measures what everybody else notices while the server is down, and how soon it is over.
func serverAway(s *scenario) {
	at := func(since time.Time) time.Duration { return time.Since(since).Round(100 * time.Millisecond) }
	kept := s.deploy(newRollout("kept", 2))
	before := s.podsNow(kept.Status.Selector)
	s.createQuota()
	doomed, empty := newScenario(s.T, s.Cluster), newScenario(s.T, s.Cluster)
	doomed.deploy(newRollout("doomed", 1))

	s.must(s.Kill(s.ctx(), cluster.Server))
	down := time.Now()
	s.kubectlIsUsable("before that is noticed")
	doomed.deleteNamespace()
	took := s.until(noticed, "the APIService is not Available", func(ctx context.Context) string { return s.available(ctx, false) })
	s.Logf("not Available %v after the server was killed", took)
	empty.deleteNamespace()
	s.kubectlIsUsable("while it is known to be away")
	s.kubectlTells()
	s.collectsAndCounts("early")
	for _, waiting := range []*scenario{doomed, empty} {
		took = s.until(nextTry, "the namespace says why it waits", func(ctx context.Context) string {
			return waiting.waits(ctx, corev1.NamespaceDeletionDiscoveryFailure)
		})
		s.Logf("the namespace says so after %v", took)
	}
	// What of it can be deleted, is.
	s.until(collected, "its pods are deleted", func(ctx context.Context) string {
		pods, err := s.Pods(doomed.namespace, "").Now(ctx)
		s.must(err)
		return unless(len(pods) == 0, "no pods in the namespace that is being deleted")
	})

	// The worst moment: its garbage collector has never heard of Rollouts then.
	s.must(s.Stop(s.ctx(), cluster.ControllerManager))
	s.must(s.Start(s.ctx(), cluster.ControllerManager))
	s.collectsAndCounts("late")
	s.until(nextTry, "the namespace says why it waits", func(ctx context.Context) string {
		return empty.waits(ctx, corev1.NamespaceDeletionDiscoveryFailure)
	})

	s.Logf("back after %v", at(down))
	s.must(s.Start(s.ctx(), cluster.Server))
	back := time.Now()
	took = s.until(noticed, "the APIService is Available", func(ctx context.Context) string { return s.available(ctx, true) })
	s.Logf("Available %v after the server was ready", took)
	s.kubectl("label", "namespace", empty.namespace, "nudged=yes")
	took = s.until(nudged, "the namespace that was changed is gone", empty.gone)
	s.Logf("the namespace that was changed is gone %v after that", took)
	s.until(nextTry, "the namespace is gone", doomed.gone)
	s.Logf("the other namespace is gone %v after the server was ready", at(back))
	if after := s.podsNow(kept.Status.Selector); !slices.Equal(after, before) {
		s.Errorf("the pods of a Rollout were %v, and are %v", before, after)
	}
	s.kubectl("delete", resource, kept.Name)
	took = s.until(collected, "the pods of a deleted Rollout are collected", func(ctx context.Context) string {
		return unless(len(s.podsNow(kept.Status.Selector)) == 0, "no pods")
	})
	s.Logf("the pods of a Rollout that was deleted are collected after %v", took)
}
