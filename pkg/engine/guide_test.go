// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestGuide plays the guide: five replicas; steps 20, pause, 40, pause 10 s, 60, pause 10 s, 80, pause 10 s.
func TestGuide(t *testing.T) {
	w := deployed(t, rollout(5, weight(20), pause(""), weight(40), pause("10"), weight(60), pause("10"), weight(80), pause("10")))
	w.pods("5")
	w.step(8)

	w.update("yellow")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.step(1)
	w.pods("4 1")

	w.must(w.Promote(false))
	w.step(2)
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 5")

	w.update("red")
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.pods("0 4 1")

	w.must(w.Abort())
	w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 3")
	w.settle()
	w.is(rollouts.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 3")
	w.pods("0 5 0")

	w.update("yellow")
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 5 0")
	w.step(8)

	w.edit("image red", image("red"))
	w.Reconcile()
	w.must(w.Promote(true))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 0 5")
}
