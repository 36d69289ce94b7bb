package engine_test

import (
	"testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// TestWritesOfAnUpdate holds the update that is measured, five replicas through 20, 40, 60, 80, to what it
// may write: each write costs the cluster a request and everybody who watches an event.
func TestWritesOfAnUpdate(t *testing.T) {
	w := deployed(t, rollout(5, weight(20), weight(40), weight(60), weight(80)))
	w.Written.ReplicaSets, w.Written.Status, w.Events = 0, 0, nil

	w.update("v2")
	w.is(rollouts.RolloutPhaseHealthy, "")
	if w.Written.ReplicaSets > 11 {
		t.Errorf("%d writes to ReplicaSets, want at most 11", w.Written.ReplicaSets)
	}
	if w.Written.Status > 12 {
		t.Errorf("%d writes of the status, want at most 12", w.Written.Status)
	}
	if len(w.Events) > 3 {
		t.Errorf("%d events, want at most 3: %v", len(w.Events), w.Events)
	}
	t.Logf("writes: %+v, events: %d\n%s", w.Written, len(w.Events), w.Trace())
}
