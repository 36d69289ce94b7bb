// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package planner_test

import (
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// blueGreen is a Rollout that waits for a promote, shows 1 pod before that, and keeps old pods for 30 s.
func blueGreen(n int32) *rollouts.Rollout {
	r := rollout(n)
	r.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{
		ActiveService: "active", PreviewService: "preview", PreviewReplicaCount: ptr.To[int32](1), AutoPromotionEnabled: ptr.To(false),
		ScaleDownDelaySeconds: ptr.To[int32](30), AbortScaleDownDelaySeconds: ptr.To[int32](30),
	}}
	return r
}

func TestPlanOfBlueGreen(t *testing.T) {
	timed := func(spec *rollouts.RolloutSpec) {
		spec.Strategy = *spec.Strategy.DeepCopy()
		spec.Strategy.BlueGreen.AutoPromotionEnabled, spec.Strategy.BlueGreen.AutoPromotionSeconds = ptr.To(true), ptr.To[int32](60)
	}
	for name, test := range map[string]struct {
		reach   func(t *testing.T, c *simulator.Cluster)
		lines   string
		message string
	}{
		"at rest": {func(*testing.T, *simulator.Cluster) {}, "", "nothing to do"},
		"an update": {
			func(_ *testing.T, c *simulator.Cluster) { c.Edit("v2", image("v2")) },
			"- Deploy 0% 4+1 peak 5\n- Pause 0% 4+1 peak 5 people\n- Complete 100% 4+4 peak 8\n- Deploy 100% 0+4 peak 8 30s\n",
			"rolls out revision 2 in 4 steps, with at most 8 pods, 1 of which waits for somebody to promote",
		},
		"an update that is promoted in time": {
			func(_ *testing.T, c *simulator.Cluster) { c.Edit("timed", timed); c.Edit("v2", image("v2")) },
			"- Deploy 0% 4+1 peak 5\n- Pause 0% 4+1 peak 5 1m0s\n- Complete 100% 4+4 peak 8\n- Deploy 100% 0+4 peak 8 30s\n",
			"rolls out revision 2 in 4 steps",
		},
		"in the pause": {
			func(_ *testing.T, c *simulator.Cluster) { c.Edit("v2", image("v2")); c.Settle(500) },
			"- Pause 0% 4+1 peak 5 people\n- Complete 100% 4+4 peak 8\n- Deploy 100% 0+4 peak 8 30s\n",
			"1 of which waits",
		},
		"aborted": {
			func(t *testing.T, c *simulator.Cluster) {
				c.Edit("v2", image("v2"))
				c.Settle(500)
				must(t, c.Abort())
			},
			"- Deploy 0% 4+0 peak 5\n", "takes all pods back from revision 2",
		},
		"its Service is missing": {
			func(_ *testing.T, c *simulator.Cluster) { c.RemoveService("active"); c.Edit("v2", image("v2")) },
			"- Deploy 0% 4+1 peak 5\n- Pause 0% 4+1 peak 5 people\n- Complete 0% 4+4 peak 8\n", "waits for Service active, which is missing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := simulator.New(blueGreen(4), start)
			c.AddService("active")
			c.AddService("preview")
			if !c.Settle(500) {
				t.Fatal("it does not settle")
			}
			test.reach(t, c)
			p := planOf(t, c)
			if got := lines(p); got != test.lines {
				t.Errorf("steps\n%swant\n%s", got, test.lines)
			}
			if !strings.Contains(p.Message, test.message) {
				t.Errorf("message %q, want %q", p.Message, test.message)
			}
		})
	}
}
