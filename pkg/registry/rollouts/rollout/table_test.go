// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestTableOfStrategies: a blueGreen Rollout has neither steps nor weights.
func TestTableOfStrategies(t *testing.T) {
	canary := &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "demo"},
		Spec: rollouts.RolloutSpec{Replicas: ptr.To[int32](4), Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
			Steps: []rollouts.CanaryStep{{SetWeight: ptr.To[int32](25)}, {Pause: &rollouts.RolloutPause{}}}}}},
		Status: rollouts.RolloutStatus{CurrentPodHash: "b", StableRS: "a", CurrentStepIndex: ptr.To[int32](1)},
	}
	blueGreen := canary.DeepCopy()
	blueGreen.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: "web"}}
	blueGreen.Status.CurrentStepIndex = nil
	for _, test := range []struct {
		rollout *rollouts.Rollout
		want    [3]any
	}{{canary, [3]any{"Canary", "1/2", "25"}}, {blueGreen, [3]any{"BlueGreen", "", ""}}} {
		printed, err := table{}.ConvertToTable(context.Background(), test.rollout, nil)
		if err != nil {
			t.Fatal(err)
		}
		cells := printed.Rows[0].Cells
		if got := [3]any{cells[1], cells[3], cells[4]}; got != test.want {
			t.Errorf("printed %v, want %v", got, test.want)
		}
	}
}
