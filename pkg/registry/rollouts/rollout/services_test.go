// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// recorded are the warnings of one request.
type recorded struct {
	mu  sync.Mutex
	all []string
}

// AddWarning is called with each.
func (r *recorded) AddWarning(_, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.all, text) {
		r.all = append(r.all, text)
	}
}

func TestServicesThatAreWaitedForAreWarnedOf(t *testing.T) {
	service := func(name, by string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
		if by != "" {
			s.Annotations = map[string]string{rollouts.ManagedByRolloutAnnotation: by}
		}
		return s
	}
	canary := func(canary, stable string) rollouts.RolloutStrategy {
		return rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{CanaryService: canary, StableService: stable}}
	}
	blueGreen := func(active, preview string) rollouts.RolloutStrategy {
		return rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: active, PreviewService: preview}}
	}
	for _, tc := range []struct {
		rule     string
		strategy rollouts.RolloutStrategy
		there    []*corev1.Service
		cold     error
		want     []string
	}{{
		rule: "none named", strategy: canary("", ""),
	}, {
		rule: "there", strategy: canary("a", "b"), there: []*corev1.Service{service("a", ""), service("b", "web")},
	}, {
		rule: "canary: missing", strategy: canary("a", "b"), there: []*corev1.Service{service("b", "")},
		want: []string{`spec.strategy.canary.canaryService: Service "a" does not exist in namespace "default" yet; the rollout waits for it`},
	}, {
		rule: "blueGreen: both missing", strategy: blueGreen("a", "b"),
		want: []string{
			`spec.strategy.blueGreen.activeService: Service "a" does not exist in namespace "default" yet; the rollout waits for it`,
			`spec.strategy.blueGreen.previewService: Service "b" does not exist in namespace "default" yet; the rollout waits for it`,
		},
	}, {
		rule: "managed by another", strategy: blueGreen("a", ""), there: []*corev1.Service{service("a", "shop")},
		want: []string{`spec.strategy.blueGreen.activeService: Service "a" in namespace "default" is managed by Rollout "shop"; the rollout waits until it is not`},
	}, {
		rule: "while the caches are cold nobody knows", strategy: blueGreen("a", "b"), cold: errors.New("cold"),
	}} {
		t.Run(tc.rule, func(t *testing.T) {
			f := newFixture(t)
			f.seen.services, f.seen.err = tc.there, tc.cold
			rollout := newRollout()
			rollout.Spec.Strategy = tc.strategy
			if c := rollout.Spec.Strategy.Canary; c != nil {
				c.MaxSurge, c.MaxUnavailable = newRollout().Spec.Strategy.Canary.MaxSurge, newRollout().Spec.Strategy.Canary.MaxUnavailable
			}
			created := &recorded{}
			if _, err := f.Rollout.Create(warning.WithWarningRecorder(as("alice"), created), rollout, rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(created.all, tc.want) {
				t.Errorf("create: warned %q, want %q", created.all, tc.want)
			}
			for _, update := range []struct {
				what   string
				change func(*rollouts.Rollout)
				want   []string
			}{
				{"an update of the spec", func(r *rollouts.Rollout) { r.Spec.Replicas = ptr.To(*r.Spec.Replicas + 1) }, tc.want},
				{"an update of a label", func(r *rollouts.Rollout) { r.Labels = map[string]string{"a": "label"} }, nil},
			} {
				updated := &recorded{}
				_, err := f.updateAs(warning.WithWarningRecorder(as("alice"), updated), func(r *rollouts.Rollout) {
					r.ResourceVersion = ""
					update.change(r)
				})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(updated.all, update.want) {
					t.Errorf("%s: warned %q, want %q", update.what, updated.all, update.want)
				}
			}
		})
	}
}
