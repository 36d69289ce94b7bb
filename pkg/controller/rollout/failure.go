// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// withRefusal returns the status by which a Rollout shows that the host cluster refuses a write:
// the status that was decided (the stored one if none was), with the condition ReplicaFailure and
// the message of the host. It returns nil if the stored status already says all that, whatever its
// times: a write that is refused again and again changes the status once.
func withRefusal(stored, decided *rollouts.RolloutStatus, no *refusal, now metav1.MicroTime) *rollouts.RolloutStatus {
	if decided == nil {
		decided = stored
	}
	status := decided.DeepCopy()
	status.Message = no.message
	condition := rollouts.RolloutCondition{
		Type:               rollouts.RolloutReplicaFailure,
		Status:             corev1.ConditionTrue,
		LastUpdateTime:     now,
		LastTransitionTime: metav1.NewTime(now.Time),
		Reason:             no.reason,
		Message:            no.message,
	}
	status.Conditions = slices.DeleteFunc(status.Conditions, isReplicaFailure)
	if i := slices.IndexFunc(stored.Conditions, isReplicaFailure); i >= 0 && stored.Conditions[i].Status == condition.Status {
		condition.LastTransitionTime = stored.Conditions[i].LastTransitionTime
	}
	status.Conditions = append(status.Conditions, condition)
	if apiequality.Semantic.DeepEqual(timeless(status), timeless(stored)) {
		return nil
	}
	return status
}

func isReplicaFailure(c rollouts.RolloutCondition) bool {
	return c.Type == rollouts.RolloutReplicaFailure
}

// timeless returns a copy of a status without the times of its conditions, these sorted by type.
func timeless(s *rollouts.RolloutStatus) *rollouts.RolloutStatus {
	s = s.DeepCopy()
	for i := range s.Conditions {
		s.Conditions[i].LastUpdateTime = metav1.MicroTime{}
		s.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	slices.SortFunc(s.Conditions, func(a, b rollouts.RolloutCondition) int {
		if a.Type < b.Type {
			return -1
		}
		return 1
	})
	return s
}
