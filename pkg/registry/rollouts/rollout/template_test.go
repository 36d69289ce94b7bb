// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// hostForMany answers many requests at once, and counts what each template was asked for.
type hostForMany struct {
	mu    sync.Mutex
	asked map[string]int
}

func (h *hostForMany) Resolve(_ context.Context, rollout, _ *rollouts.Rollout) (*corev1.PodTemplateSpec, engine.Resolution, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	template := rollout.Spec.Template.DeepCopy()
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	image := template.Spec.Containers[0].Image
	h.asked[image]++
	return template, engine.Resolution{Hash: "hash-of-" + image, Revision: rollout.Status.Revision + 1}, nil
}

func TestTemplatesWrittenAtOnceEachGetARevisionOfTheirOwn(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	host := &hostForMany{asked: map[string]int{}}
	f.Rollout.config.Templates = host
	const writers = 20
	var mu sync.Mutex
	images := map[int64]string{}
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			image := fmt.Sprintf("image-%d", i)
			updated, err := f.update(t, func(r *rollouts.Rollout) {
				r.ResourceVersion = ""
				r.Spec.Template.Spec.RestartPolicy = ""
				r.Spec.Template.Spec.Containers[0].Image = image
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other, taken := images[updated.Status.Revision]; taken {
				t.Errorf("%s and %s are both revision %d", image, other, updated.Status.Revision)
			}
			images[updated.Status.Revision] = image
			if updated.Status.CurrentPodHash != "hash-of-"+image {
				t.Errorf("%s was stored with the hash %s", image, updated.Status.CurrentPodHash)
			}
		})
	}
	all.Wait()
	last := f.get(t)
	if image := last.Spec.Template.Spec.Containers[0].Image; last.Status.Revision != writers+1 || images[last.Status.Revision] != image || last.Status.CurrentPodHash != "hash-of-"+image {
		t.Errorf("in the end image %s has the hash %s and revision %d, want the last of %d", image, last.Status.CurrentPodHash, last.Status.Revision, writers+1)
	}
	for image, times := range host.asked {
		if times != 1 {
			t.Errorf("the host was asked %d times about %s, want once for each request, not for each conflict", times, image)
		}
	}
}

func TestWhatIsLeftOutIsInvalidAndNoPanic(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*rollouts.Rollout)
	}{
		{"no strategy", func(r *rollouts.Rollout) { r.Spec.Strategy.Canary = nil }},
		{"no selector", func(r *rollouts.Rollout) { r.Spec.Selector = nil }},
		{"no template", func(r *rollouts.Rollout) { r.Spec.Template = corev1.PodTemplateSpec{} }},
		{"no spec", func(r *rollouts.Rollout) { r.Spec = rollouts.RolloutSpec{} }},
		{"a step without a kind", func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{{}} }},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			f := newFixture(t)
			bad := newRollout()
			test.change(bad)
			if _, err := f.Rollout.Create(inNamespace(), bad, rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
				t.Errorf("on create: got %v, want Invalid", err)
			}
			f.pausedAtStep1(t)
			if _, err := f.update(t, test.change); !apierrors.IsInvalid(err) {
				t.Errorf("on update: got %v, want Invalid", err)
			}
			if _, err := f.Rollout.ConvertToTable(inNamespace(), bad, &metav1.TableOptions{}); err != nil {
				t.Errorf("printed: %v", err)
			}
			if image := f.get(t).Spec.Template.Spec.Containers[0].Image; image != "red" {
				t.Errorf("stored image %q, want what was there before", image)
			}
		})
	}
}
