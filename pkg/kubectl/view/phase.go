// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import "sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"

// Phase is the phase to be shown to people, with its message. A change of the spec that is not observed
// yet counts as progress, since the stored phase then speaks of an older spec.
func Phase(r *v1alpha1.Rollout) (v1alpha1.RolloutPhase, string) {
	switch {
	case r.Status.ObservedGeneration < r.Generation:
		return v1alpha1.RolloutPhaseProgressing, "waiting for rollout spec update to be observed"
	case r.Status.Phase == "":
		return v1alpha1.RolloutPhaseProgressing, r.Status.Message
	}
	return r.Status.Phase, r.Status.Message
}

func phaseStatus(phase v1alpha1.RolloutPhase) status {
	marks := map[v1alpha1.RolloutPhase]mark{
		v1alpha1.RolloutPhaseHealthy:     markOK,
		v1alpha1.RolloutPhaseDegraded:    markBad,
		v1alpha1.RolloutPhasePaused:      markPaused,
		v1alpha1.RolloutPhaseProgressing: markProgressing,
	}
	if m, known := marks[phase]; known {
		return status{m, string(phase)}
	}
	return status{markUnknown, string(phase)}
}

// Steps is how many steps an update of the Rollout has; 0 if it is a rolling update.
func Steps(r *v1alpha1.Rollout) int {
	if r.Spec.Strategy.Canary == nil {
		return 0
	}
	return len(r.Spec.Strategy.Canary.Steps)
}

// setWeight is the share of pods of the current revision that is wanted now, as the server reckons it.
// Unit: percent. All of them, when there is no other revision to share with.
func setWeight(r *v1alpha1.Rollout) int32 {
	status := &r.Status
	switch {
	case status.StableRS == "" || status.StableRS == status.CurrentPodHash:
		return 100
	case status.Canary == nil || status.Canary.Weights == nil:
		return 0
	}
	return status.Canary.Weights.Canary.Weight
}

// noStrategy is shown of a Rollout that has none.
const noStrategy = "<none>"

// strategyBlueGreen is how that strategy is called. It has neither steps nor weights.
const strategyBlueGreen = "BlueGreen"

func strategyName(r *v1alpha1.Rollout) string {
	if r.Spec.Strategy.Canary != nil {
		return "Canary"
	}
	if r.Spec.Strategy.BlueGreen != nil {
		return strategyBlueGreen
	}
	return noStrategy
}

func desiredReplicas(r *v1alpha1.Rollout) int32 {
	if r.Spec.Replicas == nil {
		return v1alpha1.DefaultReplicas
	}
	return *r.Spec.Replicas
}
