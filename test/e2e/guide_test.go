// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// The guide, as docs/getting-started.md tells it, with checks by the API in place of a reader.
func TestGuide(t *testing.T) {
	s := together(t)
	const name = "rollouts-demo"
	paused := func(step, percent int32, pods map[string]int) *v1alpha1.Rollout {
		t.Helper()
		return s.stage(name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: step, Weight: percent, Pods: pods})
	}
	healthy := func(tag string) *v1alpha1.Rollout {
		t.Helper()
		r := s.stage(name, cluster.Stage{Phase: v1alpha1.RolloutPhaseHealthy, Step: 8, Pods: map[string]int{tag: 5}})
		if r.Status.StableRS != r.Status.CurrentPodHash {
			t.Errorf("Healthy with %s as the stable revision and %s as the current one", r.Status.StableRS, r.Status.CurrentPodHash)
		}
		return r
	}
	setTag := func(tag string) {
		t.Helper()
		s.change(name, func(r *v1alpha1.Rollout) {
			r.Spec.Template.Spec.Containers[0].Image = "argoproj/rollouts-demo:" + tag
		})
	}

	s.kubectl("apply", "-f", filepath.Join(s.Repository(), "artifacts", "examples", "rollouts-demo.yaml"))
	s.observe(healthy("blue"), cluster.Bounds{MaxPods: 7, MinAvailable: 4})

	setTag("yellow")
	paused(1, 20, map[string]int{"yellow": 1, "blue": 4})

	reply, err := s.rollouts().Promote(s.ctx(), name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
	s.must(err)
	if reply.Status.CurrentStepIndex == nil || *reply.Status.CurrentStepIndex != 2 {
		t.Errorf("the reply to the promote does not show step 2: %+v", reply.Status)
	}
	paused(3, 40, map[string]int{"yellow": 2, "blue": 3})
	paused(5, 60, map[string]int{"yellow": 3, "blue": 2})
	paused(7, 80, map[string]int{"yellow": 4, "blue": 1})
	healthy("yellow")

	setTag("red")
	paused(1, 20, map[string]int{"red": 1, "yellow": 4})

	_, err = s.rollouts().Abort(s.ctx(), name, &v1alpha1.Abort{}, metav1.CreateOptions{})
	s.must(err)
	r := s.stage(name, cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{"yellow": 5}})
	if !strings.Contains(r.Status.Message, "aborted") {
		t.Errorf("the message does not say why it is Degraded: %q", r.Status.Message)
	}

	before := s.sets(r)
	revision := r.Status.Revision
	setTag("yellow")
	r = healthy("yellow")
	if after := s.sets(r); len(after) != len(before) {
		t.Errorf("the return to the stable template made a ReplicaSet: %d before, %d after", len(before), len(after))
	}
	if r.Status.Revision <= revision {
		t.Errorf("the return to the stable template is revision %d, after %d", r.Status.Revision, revision)
	}

	setTag("red")
	paused(1, 20, map[string]int{"red": 1, "yellow": 4})
	_, err = s.rollouts().Promote(s.ctx(), name, &v1alpha1.Promotion{Full: true}, metav1.CreateOptions{})
	s.must(err)
	healthy("red")
}

// A first version that never becomes available is no stable one, so its successor goes straight to all pods.
// Reference: 3.2 TestRolloutBadToGoodSetWeightUpdate
func TestFirstVersionThatNeverRuns(t *testing.T) {
	s := together(t)
	r := newRollout("broken", 2, weight(50), pause())
	r.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such-node"}
	s.create(r)
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		if r.Status.Replicas == 2 && r.Status.StableRS == "" && r.Status.Phase == v1alpha1.RolloutPhaseProgressing {
			return ""
		}
		return "2 pods, no stable revision, Progressing"
	})
	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.Template.Spec.NodeSelector = nil
		r.Spec.Template.Spec.Containers[0].Image = image("two")
	})
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhaseHealthy, Step: 2, Pods: map[string]int{"two": 2}})
}

// A third version in mid-update starts at the first step and drains the second; the way back is the first.
// Reference: 3.1 TestCanaryWithPausedRollout
func TestNewVersionInMidUpdate(t *testing.T) {
	s := together(t)
	steps := []v1alpha1.CanaryStep{weight(20), pause(), weight(60), pause()}
	r := s.deploy(newRollout("twice", 5, steps...))
	stable := r.Status.StableRS
	s.observe(r, cluster.Bounds{MaxPods: 7, MinAvailable: 4})
	s.setTag(r.Name, "two")
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 20, Pods: map[string]int{"one": 4, "two": 1}})
	_, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
	s.must(err)
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 3, Weight: 60, Pods: map[string]int{"one": 2, "two": 3}})
	s.setTag(r.Name, "three")
	got := s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 20, Pods: map[string]int{"one": 4, "three": 1}})
	if got.Status.StableRS != stable {
		t.Errorf("the stable revision is %s, not %s any more", got.Status.StableRS, stable)
	}
	_, err = s.rollouts().Abort(s.ctx(), r.Name, &v1alpha1.Abort{}, metav1.CreateOptions{})
	s.must(err)
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{"one": 5}})
}

// Without steps an update is a rolling update, within its bounds.
func TestRollingUpdate(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("rolling", 6))
	s.observe(r, cluster.Bounds{MaxPods: 8, MinAvailable: 5})
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.pods(r, map[string]int{"two": 6})
}
