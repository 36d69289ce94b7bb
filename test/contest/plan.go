// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

const (
	replicas  = 3
	container = "app"
	// leastSteps and mostSteps bound the random number of steps.
	leastSteps, mostSteps = 2, 9
	// longPause is longer than any contest. Unit: seconds.
	longPause = 3600
	// stuckWeight is a weight, in percent, that wants at least one pod of the new version.
	stuckWeight = 40
)

// nowhere selects no node.
var nowhere = map[string]string{"contest.sluice.dev/node": "none"}

// plan is one random update.
type plan struct {
	image string
	steps []v1alpha1.CanaryStep
	// stuck is true if no pod of the new version can run, so that a step which waits for one never ends by itself.
	stuck bool
}

// newPlan is the next random update. At least its last step is one to rest at.
func newPlan(random *rand.Rand, number int) plan {
	p := plan{image: fmt.Sprintf("contest:%d", number), stuck: random.IntN(3) == 0}
	for range leastSteps + random.IntN(mostSteps-leastSteps) {
		p.steps = append(p.steps, p.newStep(random))
	}
	return plan{image: p.image, stuck: p.stuck, steps: append(p.steps, pauseWithoutEnd())}
}

func (p plan) newStep(random *rand.Rand) v1alpha1.CanaryStep {
	switch random.IntN(4) {
	case 0:
		return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{Duration: ptr.To(intstr.FromInt32(longPause))}}
	case 1:
		return pauseWithoutEnd()
	}
	if p.stuck {
		return v1alpha1.CanaryStep{SetWeight: ptr.To(int32(stuckWeight + random.IntN(100-stuckWeight)))}
	}
	return v1alpha1.CanaryStep{SetWeight: ptr.To(int32(random.IntN(101)))}
}

func pauseWithoutEnd() v1alpha1.CanaryStep {
	return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{}}
}

// The states that a Rollout may rest in, for people.
const (
	restPause      = "a pause"
	restTimedPause = "a timed pause"
	restPods       = "a step that waits for pods"
)

// rest is what the update waits for at a step; empty if the controller is about to go on by itself, or is at the end.
func (p plan) rest(step int32) string {
	if step < 0 || int(step) >= len(p.steps) {
		return ""
	}
	switch s := p.steps[step]; {
	case s.Pause != nil && s.Pause.Duration != nil:
		return restTimedPause
	case s.Pause != nil:
		return restPause
	case p.stuck:
		return restPods
	default:
		return ""
	}
}

// rollout is the Rollout before any update.
func rollout(name string) *v1alpha1.Rollout {
	labels := map[string]string{"app": name}
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.RolloutSpec{
			Replicas: ptr.To[int32](replicas),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: container, Image: "contest:0"}}},
			},
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: []v1alpha1.CanaryStep{pauseWithoutEnd()}}},
		},
	}
}

// patch is the update as a merge patch.
func (p plan) patch() ([]byte, error) {
	pod := map[string]any{"nodeSelector": nil, "containers": []map[string]string{{"name": container, "image": p.image}}}
	if p.stuck {
		pod["nodeSelector"] = nowhere
	}
	return json.Marshal(map[string]any{"spec": map[string]any{
		"strategy": map[string]any{"canary": map[string]any{"steps": p.steps}},
		"template": map[string]any{"spec": pod},
	}})
}
