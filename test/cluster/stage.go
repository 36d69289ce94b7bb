// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Stage is where a Rollout is expected to stand.
type Stage struct {
	// Phase is its phase, Step the index of its step from 0.
	Phase v1alpha1.RolloutPhase
	Step  int32
	// Weight is the share that is wanted of a revision in flight; 0 if none is. Unit: percent.
	Weight int32
	// Pods are how many available pods there are, by the tag of the image of their first container.
	Pods map[string]int
}

// String is the stage in the words of the guide.
func (s Stage) String() string {
	return fmt.Sprintf("%s, step %d, weight %d, pods %v", s.Phase, s.Step, s.Weight, s.Pods)
}

// AwaitStage waits until the status of the Rollout tells the stage. The pods must then be as the status
// implies, without waiting for them; but an abort is told before the pods have moved, so then it does.
func (c *Cluster) AwaitStage(ctx context.Context, namespace, name string, want Stage) (*v1alpha1.Rollout, error) {
	found, err := Await(ctx, c.Rollout(namespace, name), func(found []*v1alpha1.Rollout) string {
		if len(found) == 0 {
			return "it does not exist"
		}
		return want.lacking(found[0])
	})
	if err != nil {
		return nil, err
	}
	pods := c.Pods(namespace, found[0].Status.Selector)
	if want.Phase == v1alpha1.RolloutPhaseDegraded {
		_, err = Await(ctx, pods, want.lackingPods)
		return found[0], err
	}
	list, err := pods.Now(ctx)
	if err != nil {
		return nil, err
	}
	if lacking := want.lackingPods(list); lacking != "" {
		return nil, fmt.Errorf("%s stands at the stage %q, but %s", name, want, lacking)
	}
	return found[0], nil
}

// lacking says how the Rollout differs from the stage; empty if it does not.
func (s Stage) lacking(r *v1alpha1.Rollout) string {
	weight := int32(-1)
	if r.Status.Canary != nil && r.Status.Canary.Weights != nil {
		weight = r.Status.Canary.Weights.Canary.Weight
	}
	step := ptr.Deref(r.Status.CurrentStepIndex, -1)
	if r.Status.ObservedGeneration == r.Generation && r.Status.Phase == s.Phase && step == s.Step && weight == s.Weight {
		return ""
	}
	return fmt.Sprintf("wanted is %q; it is %s (%s), step %d, weight %d, generation %d of %d observed",
		s, r.Status.Phase, r.Status.Message, step, weight, r.Status.ObservedGeneration, r.Generation)
}

// lackingPods says how the pods differ from the stage; empty if they do not.
func (s Stage) lackingPods(pods []*corev1.Pod) string {
	if counted := PodsByTag(pods); !maps.Equal(counted, s.Pods) {
		return fmt.Sprintf("its pods are %v instead of %v", counted, s.Pods)
	}
	return ""
}

// PodsByTag counts available pods by the tag of the image of their first container. A pod that is there and
// not available counts with "not available" in place of the tag, one that is being deleted not at all.
func PodsByTag(pods []*corev1.Pod) map[string]int {
	count := map[string]int{}
	for _, pod := range pods {
		switch {
		case pod.DeletionTimestamp != nil:
		case Ready(pod):
			count[Tag(&pod.Spec)]++
		default:
			count["not available"]++
		}
	}
	return count
}

// Tag is the tag of the image of the first container.
func Tag(spec *corev1.PodSpec) string {
	image := spec.Containers[0].Image
	return image[strings.LastIndex(image, ":")+1:]
}
