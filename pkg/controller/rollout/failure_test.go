// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

func TestWithRefusal(t *testing.T) {
	t0, t1 := metav1.NewMicroTime(time.Unix(1000, 0)), metav1.NewMicroTime(time.Unix(2000, 0))
	no := &refusal{reason: "ReplicaSetCreateError", message: "exceeded quota"}
	progressing := func(at metav1.MicroTime) rollouts.RolloutCondition {
		return rollouts.RolloutCondition{Type: rollouts.RolloutProgressing, Status: corev1.ConditionTrue, LastUpdateTime: at}
	}
	status := func(replicas int32, conditions ...rollouts.RolloutCondition) *rollouts.RolloutStatus {
		return &rollouts.RolloutStatus{Replicas: replicas, Conditions: conditions}
	}
	shown := withRefusal(status(1, progressing(t0)), nil, no, t0)
	for _, tc := range []struct {
		rule            string
		stored, decided *rollouts.RolloutStatus
		write           bool
	}{
		{"the first time it is written", status(1, progressing(t0)), nil, true},
		{"the same again is not", shown, nil, false},
		{"nor if the engine would take it back", shown, status(1, progressing(t0)), false},
		{"nor if only times differ", shown, status(1, progressing(t1)), false},
		{"another change is written with it", shown, status(2, progressing(t0)), true},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			got := withRefusal(tc.stored, tc.decided, no, t1)
			if (got != nil) != tc.write {
				t.Fatalf("writes %v", got)
			}
			if got == nil {
				return
			}
			last := got.Conditions[len(got.Conditions)-1]
			if got.Message != no.message || len(got.Conditions) != 2 || last.Type != rollouts.RolloutReplicaFailure || last.Message != no.message || last.Reason != no.reason {
				t.Errorf("does not show the refusal: %v", got)
			}
			if tc.stored == shown && last.LastTransitionTime.Unix() != t0.Unix() {
				t.Errorf("the condition did not change from one value to another, but its transition time is %v", last.LastTransitionTime)
			}
		})
	}
	if len(shown.Conditions) != 2 {
		t.Error("the stored status was modified")
	}
}
