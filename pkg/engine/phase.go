// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference section 4.2 (the list of phases, first match wins) and the API design (what differs:
// a held Rollout, what a Rollout names and cannot use, and surplus pods of the current revision count as not Healthy).

// The messages that go with a phase. The first is also what a change of the spec says until it is observed.
const (
	messageNotObserved     = "waiting for rollout spec update to be observed"
	messageManuallyPaused  = "manually paused"
	messageRestarting      = "rollout is restarting"
	messageNeedUpdate      = "more replicas need to be updated"
	messageNotAvailable    = "updated replicas are still becoming available"
	messageOldPods         = "old replicas are pending termination"
	messageSurplusPods     = "surplus replicas are pending termination"
	messageActivePending   = "active service cutover pending"
	messagePreviewPending  = "preview service cutover pending"
	messageVerification    = "waiting for post-promotion verification to complete"
	messageStepsIncomplete = "waiting for all steps to complete"
)

// setPhase sets phase and message from the rest of the status: counts, steps, pauses, abort, and the
// conditions Progressing and Held.
func setPhase(r *rollouts.Rollout) {
	r.Status.Phase, r.Status.Message = phaseOf(r)
}

func phaseOf(r *rollouts.Rollout) (rollouts.RolloutPhase, string) {
	st := &r.Status
	if held := findCondition(st, rollouts.RolloutHeld); held != nil {
		return rollouts.RolloutPhaseDegraded, held.Reason + ": " + held.Message
	}
	if phase, message, invalid := invalidPhase(r); invalid {
		return phase, message
	}
	if st.Abort {
		return rollouts.RolloutPhaseDegraded, reasonAborted + ": " + abortMessage(st)
	}
	if p := findCondition(st, rollouts.RolloutProgressing); p != nil && p.Reason == reasonDeadlineExceeded {
		return rollouts.RolloutPhaseDegraded, p.Reason + ": " + p.Message
	}
	return movement(r)
}

// movement is the phase of a Rollout that nothing is wrong with.
func movement(r *rollouts.Rollout) (rollouts.RolloutPhase, string) {
	st, n := &r.Status, replicas(r)
	progressing := func(message string) (rollouts.RolloutPhase, string) {
		return rollouts.RolloutPhaseProgressing, message
	}
	switch {
	case r.Spec.Paused:
		return rollouts.RolloutPhasePaused, messageManuallyPaused
	case len(st.PauseConditions) > 0:
		return rollouts.RolloutPhasePaused, pauseMessage(r)
	case findCondition(st, rollouts.RolloutRestarting) != nil:
		return progressing(messageRestarting)
	case st.UpdatedReplicas < n:
		return progressing(messageNeedUpdate)
	case st.AvailableReplicas < st.UpdatedReplicas:
		return progressing(messageNotAvailable)
	case blueGreen(r) != nil:
		return cutover(r)
	case st.Replicas > st.UpdatedReplicas:
		return progressing(messageOldPods)
	case st.UpdatedReplicas > n:
		return progressing(messageSurplusPods)
	case st.StableRS != st.CurrentPodHash:
		return progressing(messageStepsIncomplete)
	default:
		return rollouts.RolloutPhaseHealthy, ""
	}
}

// cutover is the phase of a blueGreen Rollout whose pods are all there. Older pods that are kept count for nothing.
func cutover(r *rollouts.Rollout) (rollouts.RolloutPhase, string) {
	st := &r.Status
	leads := ptr.Deref(st.BlueGreen, rollouts.BlueGreenStatus{})
	switch {
	case leads.ActiveSelector != st.CurrentPodHash:
		return rollouts.RolloutPhaseProgressing, messageActivePending
	case st.StableRS != st.CurrentPodHash:
		return rollouts.RolloutPhaseProgressing, messageVerification
	case st.UpdatedReplicas > replicas(r):
		return rollouts.RolloutPhaseProgressing, messageSurplusPods
	case blueGreen(r).PreviewService != "" && leads.PreviewSelector != st.CurrentPodHash:
		return rollouts.RolloutPhaseProgressing, messagePreviewPending
	default:
		return rollouts.RolloutPhaseHealthy, ""
	}
}

// abortMessage says what was aborted, and why if that is known.
func abortMessage(st *rollouts.RolloutStatus) string {
	if p := findCondition(st, rollouts.RolloutProgressing); p != nil && (p.Reason == reasonAborted || p.Reason == reasonAborting) {
		return p.Message
	}
	return abortedUpdateTo(st)
}

func abortedUpdateTo(st *rollouts.RolloutStatus) string {
	return fmt.Sprintf("Rollout aborted update to revision %d", st.Revision)
}
