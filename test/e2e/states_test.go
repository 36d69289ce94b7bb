// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// state is one that a Rollout can be brought to, and stays in.
type state struct {
	// prefix is what the names of Rollouts in it begin with.
	prefix string
	// before is done once, before any of them; nil if there is nothing to do.
	before func(s *scenario)
	// stages lead to it, one after the other.
	stages []stage
}

// stage is something that is done to a Rollout, and what the Rollout lacks until that is through.
type stage struct {
	act   func(s *scenario, name string)
	until func(*v1alpha1.Rollout) string
}

// bring brings Rollouts to a state: all of them to each stage, so that their waits are one.
func (s *scenario) bring(to state, names []string) {
	s.Helper()
	if to.before != nil {
		to.before(s)
	}
	for _, stage := range to.stages {
		for _, name := range names {
			stage.act(s, name)
		}
		for _, name := range names {
			s.await(name, stage.until)
		}
	}
}

// threeSteps are the steps that the table counts in.
func threeSteps(pause v1alpha1.CanaryStep) []v1alpha1.CanaryStep {
	return []v1alpha1.CanaryStep{weight(50), pause, weight(100)}
}

// approval is a pause that waits for so many people.
func approval(required int32, groups ...string) v1alpha1.CanaryStep {
	return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{Approval: &v1alpha1.PauseApproval{Required: &required, Groups: groups}}}
}

// deployed is a first revision that is Healthy.
func deployed(steps ...v1alpha1.CanaryStep) stage {
	return deployedWith(func(*v1alpha1.Rollout) {}, steps...)
}

func deployedWith(edit func(*v1alpha1.Rollout), steps ...v1alpha1.CanaryStep) stage {
	return stage{func(s *scenario, name string) {
		r := newRollout(name, 1, steps...)
		edit(r)
		s.create(r)
	}, inPhase(v1alpha1.RolloutPhaseHealthy)}
}

// edited is a change of the spec, or of metadata.
func edited(edit func(*v1alpha1.Rollout), until func(*v1alpha1.Rollout) string) stage {
	return stage{func(s *scenario, name string) { s.change(name, edit) }, until}
}

// called is a verb by the administrator.
func called(column string, until func(*v1alpha1.Rollout) string) stage {
	return stage{func(s *scenario, name string) {
		s.must(s.call(http.MethodPost, name, columns[column].verb, columns[column].body).err)
	}, until}
}

func toVersionTwo(r *v1alpha1.Rollout) { r.Spec.Template.Spec.Containers[0].Image = image("two") }

// inPhase is a phase that the controller tells of the present spec.
func inPhase(phase v1alpha1.RolloutPhase) func(*v1alpha1.Rollout) string {
	return func(r *v1alpha1.Rollout) string {
		return unless(r.Status.Phase == phase && r.Status.ObservedGeneration == r.Generation,
			fmt.Sprintf("%s; it is %s: %s", phase, r.Status.Phase, r.Status.Message))
	}
}

// waitingAt is a pause step that the update waits in, with its pods in place.
func waitingAt(step int32) func(*v1alpha1.Rollout) string {
	return func(r *v1alpha1.Rollout) string {
		st := r.Status
		return unless(inPhase(v1alpha1.RolloutPhasePaused)(r) == "" && ptr.Deref(st.CurrentStepIndex, -1) == step && len(st.PauseConditions) == 1,
			fmt.Sprintf("the pause of step %d; it is %s at step %d", step, st.Phase, ptr.Deref(st.CurrentStepIndex, -1)))
	}
}

// stuckAt is a step, or none, at which pods of the current revision do not become available.
func stuckAt(phase v1alpha1.RolloutPhase, step *int32) func(*v1alpha1.Rollout) string {
	return func(r *v1alpha1.Rollout) string {
		st := r.Status
		return unless(inPhase(phase)(r) == "" && ptr.Equal(st.CurrentStepIndex, step) && st.UpdatedReplicas > 0,
			fmt.Sprintf("%s at step %d with a pod of the new revision; it is %s at step %d with %d", phase, ptr.Deref(step, -1), st.Phase, ptr.Deref(st.CurrentStepIndex, -1), st.UpdatedReplicas))
	}
}

// isBehind is true of a Rollout whose last change the controller has not taken up.
func isBehind(r *v1alpha1.Rollout) string {
	return unless(r.Status.ObservedGeneration < r.Generation, "a change that was not observed")
}

const (
	progressing = v1alpha1.RolloutPhaseProgressing
	degraded    = v1alpha1.RolloutPhaseDegraded
	// unobservedLabel marks the Rollouts of which the controller may not write what it observes.
	unobservedLabel = "example.com/unobserved"
)

// states are the rows of the table of docs/verbs.md, and how to get there.
var states = map[string]state{
	"setWeight step, moving pods": {prefix: "moving", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(broken, stuckAt(progressing, ptr.To[int32](0))),
	}},
	"pause step without an end": {prefix: "paused", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(toVersionTwo, waitingAt(1)),
	}},
	"pause step with a duration": {prefix: "timed", stages: []stage{
		deployed(threeSteps(pauseFor(3600))...),
		edited(toVersionTwo, waitingAt(1)),
	}},
	"pause step with approval of 2": {prefix: "approval", stages: []stage{
		deployed(threeSteps(approval(2))...),
		edited(toVersionTwo, waitingAt(1)),
	}},
	"all steps done, moving pods": {prefix: "last", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(broken, stuckAt(progressing, ptr.To[int32](0))),
		called("promote", stuckAt(v1alpha1.RolloutPhasePaused, ptr.To[int32](1))),
		called("promote", stuckAt(progressing, ptr.To[int32](2))),
		called("promote", stuckAt(progressing, ptr.To[int32](3))),
	}},
	"strategy without steps, moving pods": {prefix: "stepless", stages: []stage{
		deployed(),
		edited(broken, stuckAt(progressing, nil)),
	}},
	"promoted in full, moving pods": {prefix: "full", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(broken, stuckAt(progressing, ptr.To[int32](0))),
		called("promote full", stuckAt(progressing, ptr.To[int32](3))),
	}},
	"paused by hand, at a pause step": {prefix: "frozen", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(toVersionTwo, waitingAt(1)),
		called("pause", waitingAt(1)),
	}},
	"aborted": {prefix: "aborted", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(toVersionTwo, waitingAt(1)),
		called("abort", func(r *v1alpha1.Rollout) string {
			return unless(r.Status.Phase == degraded && r.Status.UpdatedReplicas == 0 && r.Status.AvailableReplicas == 1, "all pods back")
		}),
	}},
	"Degraded by its deadline": {prefix: "late", stages: []stage{
		deployedWith(func(r *v1alpha1.Rollout) { r.Spec.ProgressDeadlineSeconds = ptr.To[int32](1) }, threeSteps(pause())...),
		edited(broken, stuckAt(degraded, ptr.To[int32](0))),
	}},
	"Healthy": {prefix: "healthy", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(toVersionTwo, waitingAt(1)),
		called("promote", inPhase(v1alpha1.RolloutPhaseHealthy)),
	}},
	"Healthy, restart to come": {prefix: "restarting", stages: []stage{
		deployed(threeSteps(pause())...),
		edited(func(r *v1alpha1.Rollout) { r.Spec.RestartAt = ptr.To(metav1.NewTime(time.Now().Add(time.Hour))) }, inPhase(v1alpha1.RolloutPhaseHealthy)),
	}},
	"first revision, moving pods": {prefix: "first", stages: []stage{
		{func(s *scenario, name string) {
			r := newRollout(name, 1, threeSteps(pause())...)
			broken(r)
			s.create(r)
		}, stuckAt(progressing, ptr.To[int32](3))},
	}},
	"last change not observed": {prefix: "unseen", before: (*scenario).keepUnobserved, stages: []stage{
		deployed(threeSteps(pause())...),
		edited(func(r *v1alpha1.Rollout) {
			r.Labels = map[string]string{unobservedLabel: "true"}
			toVersionTwo(r)
		}, isBehind),
	}},
	"being deleted": {prefix: "leaving", stages: []stage{
		deployedWith(func(r *v1alpha1.Rollout) { r.Finalizers = []string{"example.com/hold"} }, threeSteps(pause())...),
		edited(toVersionTwo, waitingAt(1)),
		{func(s *scenario, name string) {
			s.Cleanup(func() { s.release(name) })
			s.must(s.rollouts().Delete(s.ctx(), name, metav1.DeleteOptions{}))
		}, func(r *v1alpha1.Rollout) string { return unless(r.DeletionTimestamp != nil, "deleted") }},
	}},
}

// keepUnobserved sees to it that Rollouts with a label stay unobserved: a policy denies every write of their status,
// also to the controller. So a change of the spec that sets the label is never taken up, however fast the
// controller is, and nothing else of it has to stop.
func (s *scenario) keepUnobserved() {
	s.Helper()
	s.policy(admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"sluice.dev"}, APIVersions: []string{"*"}, Resources: []string{"rollouts/status"}},
	}, "!has(object.metadata.labels) || !('"+unobservedLabel+"' in object.metadata.labels)", "nothing is observed of it")
	probe := newRollout("unseen-probe", 0)
	probe.Labels = map[string]string{unobservedLabel: "true"}
	s.create(probe)
	s.eventually("the policy to hold", func(context.Context) bool {
		got := s.dry(http.MethodPatch, probe.Name, "status", `{"status":{"message":"seen"}}`)
		return got.code == http.StatusUnprocessableEntity
	})
}
