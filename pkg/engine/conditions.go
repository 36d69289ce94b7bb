// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference section 4.3 (types, reasons and messages), the API design ("What generic waiters
// see") and reference section 7.11 (why Ready, Reconciling and Stalled exist).

// The reasons of the condition Progressing.
const (
	reasonCreated          = "NewReplicaSetCreated"
	reasonFound            = "FoundNewReplicaSet"
	reasonUpdated          = "ReplicaSetUpdated"
	reasonComplete         = "NewReplicaSetAvailable"
	reasonNotAvailable     = "ReplicaSetNotAvailable"
	reasonPaused           = "RolloutPaused"
	reasonDeadlineExceeded = "ProgressDeadlineExceeded"
	reasonAborted          = "RolloutAborted"
	// The verbs leave these three, until the next decision has acted on what they changed.
	reasonAborting = "RolloutAborting"
	reasonResumed  = "RolloutResumed"
	reasonRetry    = "RolloutRetry"
)

// The reasons of the condition Restarting.
const (
	reasonEvicting        = "Evicting"
	reasonEvictionRefused = "EvictionRefused"
)

// reasonNewerRevision is why a Rollout is held.
const reasonNewerRevision = "NewerRevisionFound"

func findCondition(st *rollouts.RolloutStatus, t rollouts.RolloutConditionType) *rollouts.RolloutCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

func removeCondition(st *rollouts.RolloutStatus, t rollouts.RolloutConditionType) {
	st.Conditions = slices.DeleteFunc(st.Conditions, func(c rollouts.RolloutCondition) bool { return c.Type == t })
}

// setCondition sets a condition. Its times change only with what it says.
func setCondition(st *rollouts.RolloutStatus, t rollouts.RolloutConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	c := findCondition(st, t)
	if c == nil {
		st.Conditions = append(st.Conditions, rollouts.RolloutCondition{Type: t})
		c = &st.Conditions[len(st.Conditions)-1]
	}
	if c.Status == status && c.Reason == reason && c.Message == message {
		return
	}
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	}
	c.Status, c.Reason, c.Message = status, reason, message
	c.LastUpdateTime = microAtOrAfter(now)
}

// setStanding sets the conditions that follow from the phase and the hashes of the status.
func setStanding(st *rollouts.RolloutStatus, now time.Time) {
	set := func(t rollouts.RolloutConditionType, is bool, reason, message string) {
		setCondition(st, t, truth(is), reason, message, now)
	}
	paused := st.Phase == rollouts.RolloutPhasePaused || len(st.PauseConditions) > 0
	set(rollouts.RolloutPaused, paused, reasonPaused, either(paused, "Rollout is paused", "Rollout is not paused"))
	completed := st.StableRS != "" && st.StableRS == st.CurrentPodHash
	set(rollouts.RolloutCompleted, completed, "RolloutCompleted",
		either(completed, "The current revision is the stable one", "The current revision is not the stable one"))
	healthy := st.Phase == rollouts.RolloutPhaseHealthy
	set(rollouts.RolloutHealthy, healthy, "RolloutHealthy", either(healthy, "Rollout is healthy", "Rollout is not healthy"))

	why := either(healthy, "Rollout is healthy", st.Message)
	set(rollouts.RolloutReady, healthy, string(st.Phase), why)
	set(rollouts.RolloutReconciling, st.Phase == rollouts.RolloutPhaseProgressing, string(st.Phase), why)
	set(rollouts.RolloutStalled, st.Phase == rollouts.RolloutPhaseDegraded, string(st.Phase), why)
}

// setObserved sets the conditions that only a decision can tell: they follow from ReplicaSets and time.
func (d *decider) setObserved() {
	st := &d.rollout.Status
	available := st.AvailableReplicas >= replicas(d.rollout)
	setCondition(st, rollouts.RolloutAvailable, truth(available), "AvailableReason",
		either(available, "Rollout has minimum availability", "Rollout does not have minimum availability"), d.now)
	d.copyReplicaFailure()
}

// copyReplicaFailure tells that pods of the current revision cannot be created, in the words of its
// ReplicaSet.
func (d *decider) copyReplicaFailure() {
	if d.current != nil {
		for _, c := range d.current.Status.Conditions {
			if c.Type == "ReplicaFailure" && c.Status == corev1.ConditionTrue {
				setCondition(&d.rollout.Status, rollouts.RolloutReplicaFailure, c.Status, c.Reason, c.Message, d.now)
				return
			}
		}
	}
	removeCondition(&d.rollout.Status, rollouts.RolloutReplicaFailure)
}

func truth(is bool) corev1.ConditionStatus {
	if is {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func either(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
