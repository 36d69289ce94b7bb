// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestPhase is the list of reference section 4.2, first match wins, with a row for each line that applies.
func TestPhase(t *testing.T) {
	settled := rollouts.RolloutStatus{
		Replicas: 5, UpdatedReplicas: 5, ReadyReplicas: 5, AvailableReplicas: 5, CurrentPodHash: "b", StableRS: "b", Revision: 2,
	}
	with := func(changes ...func(*rollouts.RolloutStatus)) rollouts.RolloutStatus {
		st := *settled.DeepCopy()
		for _, change := range changes {
			change(&st)
		}
		return st
	}
	held := func(st *rollouts.RolloutStatus) {
		st.Conditions = append(st.Conditions, rollouts.RolloutCondition{Type: rollouts.RolloutHeld, Reason: reasonNewerRevision, Message: "why"})
	}
	progressing := func(reason, message string) func(*rollouts.RolloutStatus) {
		return func(st *rollouts.RolloutStatus) {
			st.Conditions = append(st.Conditions, rollouts.RolloutCondition{Type: rollouts.RolloutProgressing, Reason: reason, Message: message})
		}
	}
	aborted := func(st *rollouts.RolloutStatus) { st.Abort = true }
	pausing := func(st *rollouts.RolloutStatus) {
		st.PauseConditions = []rollouts.PauseCondition{{Reason: rollouts.PauseReasonCanaryPauseStep, StartTime: metav1.NowMicro()}}
	}
	counts := func(replicas, updated, available int32) func(*rollouts.RolloutStatus) {
		return func(st *rollouts.RolloutStatus) {
			st.Replicas, st.UpdatedReplicas, st.AvailableReplicas = replicas, updated, available
		}
	}
	inFlight := func(st *rollouts.RolloutStatus) { st.StableRS = "a" }

	for _, row := range []struct {
		rule    string
		paused  bool
		status  rollouts.RolloutStatus
		phase   rollouts.RolloutPhase
		message string
	}{
		{"held before anything", true, with(held, aborted), "Degraded", "NewerRevisionFound: why"},
		{"2: aborted", false, with(aborted), "Degraded", "RolloutAborted: Rollout aborted update to revision 2"},
		{"2: aborted, and why", false, with(aborted, progressing(reasonAborted, "because")), "Degraded", "RolloutAborted: because"},
		{"2: aborted shows Degraded, not Paused", true, with(aborted, pausing), "Degraded", "RolloutAborted: Rollout aborted update to revision 2"},
		{"2: deadline exceeded", false, with(progressing(reasonDeadlineExceeded, "late")), "Degraded", "ProgressDeadlineExceeded: late"},
		{"3: paused by hand", true, with(pausing), "Paused", "manually paused"},
		{"4: a pause step", false, with(pausing, counts(5, 1, 5)), "Paused", "CanaryPauseStep"},
		{"6: not enough updated", false, with(counts(5, 4, 5)), "Progressing", "more replicas need to be updated"},
		{"7: updated ones not available", false, with(counts(5, 5, 4)), "Progressing", "updated replicas are still becoming available"},
		{"11: old ones left", false, with(counts(6, 5, 5)), "Progressing", "old replicas are pending termination"},
		{"surplus of the current revision", false, with(counts(6, 6, 6)), "Progressing", "surplus replicas are pending termination"},
		{"12: not yet stable", false, with(inFlight), "Progressing", "waiting for all steps to complete"},
		{"13: otherwise Healthy", false, settled, "Healthy", ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			r := &rollouts.Rollout{Spec: rollouts.RolloutSpec{Replicas: ptr.To[int32](5), Paused: row.paused}, Status: row.status}
			if phase, message := phaseOf(r); phase != row.phase || message != row.message {
				t.Errorf("got %s %q, want %s %q", phase, message, row.phase, row.message)
			}
		})
	}
}
