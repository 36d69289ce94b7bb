// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestPlan(t *testing.T) {
	plan := &v1alpha1.RolloutPlan{Status: v1alpha1.RolloutPlanStatus{
		Message: "revision 3 is rolled out in 5 steps, with 6 pods at most",
		Steps: []v1alpha1.PlannedStep{
			{Index: ptr.To[int32](0), Action: v1alpha1.PlannedSetWeight, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 6},
			{Index: ptr.To[int32](1), Action: v1alpha1.PlannedPause, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 5, UntilPromoted: true},
			{Index: ptr.To[int32](2), Action: v1alpha1.PlannedPause, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 5, Duration: &metav1.Duration{Duration: time.Hour}},
			{Index: ptr.To[int32](3), Action: v1alpha1.PlannedPause, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 5, UntilPromoted: true,
				Approval: &v1alpha1.PauseApproval{Required: ptr.To[int32](2), Groups: []string{"sre", "release"}}},
			{Index: ptr.To[int32](4), Action: v1alpha1.PlannedPause, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 5, UntilPromoted: true,
				Approval: &v1alpha1.PauseApproval{NotAuthor: ptr.To(false)}},
			{Action: v1alpha1.PlannedComplete, Weight: 100, CanaryReplicas: 5, PeakReplicas: 6},
		},
	}}
	const want = `
STEP  ACTION     WEIGHT  STABLE  CANARY  PEAK  WAIT
0     SetWeight  20      4       1       6
1     Pause      20      4       1       5     until promoted
2     Pause      20      4       1       5     1h
3     Pause      20      4       1       5     2 approvals of sre or release, not of an author
4     Pause      20      4       1       5     1 approval
-     Complete   100     0       5       6

revision 3 is rolled out in 5 steps, with 6 pods at most
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), strings.Join(Plan(plan), "\n")+"\n"); diff != "" {
		t.Error(diff)
	}
}

func TestPlanOfNothing(t *testing.T) {
	lines := Plan(&v1alpha1.RolloutPlan{Status: v1alpha1.RolloutPlanStatus{Message: "nothing will change"}})
	if diff := cmp.Diff([]string{"nothing will change"}, lines); diff != "" {
		t.Error(diff)
	}
}

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Second: "30s", 10 * time.Minute: "10m", 90 * time.Minute: "1h30m", 20 * time.Hour: "20h", 10*time.Minute + 5*time.Second: "10m5s", 0: "0s", 88*time.Second + 400*time.Millisecond: "1m29s",
	} {
		if got := length(d); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestExplanation(t *testing.T) {
	at := func(d time.Duration) *metav1.MicroTime { return ptr.To(metav1.NewMicroTime(now.Add(d))) }
	tests := []struct {
		rule   string
		status v1alpha1.RolloutExplanationStatus
		want   string
	}{
		{"what blocks it, the first thing first, with since, until, pods and the next call", v1alpha1.RolloutExplanationStatus{
			Phase: v1alpha1.RolloutPhasePaused, Message: "CanaryPauseStep",
			Blockers: []v1alpha1.Blocker{
				{Code: v1alpha1.BlockerTimedPause, Since: at(-3 * time.Minute), Until: at(7 * time.Minute), Message: "step 1/8 is a pause of 10m", Next: "kubectl sluice promote web -n shop"},
				{Code: v1alpha1.BlockerPodsNotAvailable, Message: "2 pods not available: ImagePullBackOff", Pods: []string{"web-a", "web-b"}},
			},
		}, `
॥ Paused: CanaryPauseStep

TimedPause, since 2026-01-02T11:57:00Z (3m), until 2026-01-02T12:07:00Z
  step 1/8 is a pause of 10m
  next: kubectl sluice promote web -n shop

PodsNotAvailable
  2 pods not available: ImagePullBackOff
  pods: web-a, web-b
`},
		{"nothing blocks what is Healthy", v1alpha1.RolloutExplanationStatus{Phase: v1alpha1.RolloutPhaseHealthy}, `
✔ Healthy
Nothing blocks it: there is nothing left to do.
`},
		{"nor what moves", v1alpha1.RolloutExplanationStatus{Phase: v1alpha1.RolloutPhaseProgressing, Message: "more replicas need to be updated"}, `
◌ Progressing: more replicas need to be updated
Nothing blocks it: it moves on by itself.
`},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			lines := Explanation(&v1alpha1.RolloutExplanation{Status: test.status}, now, NoColour)
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), strings.Join(lines, "\n")+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}
