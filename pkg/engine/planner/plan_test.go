// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package planner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/planner"
	"sluice.dev/sluice/pkg/engine/simulator"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func rollout(n int32, steps ...rollouts.CanaryStep) *rollouts.Rollout {
	labels := map[string]string{"app": "demo"}
	return &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "default"},
		Spec: rollouts.RolloutSpec{
			Replicas: ptr.To(n),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "v1"}}},
			},
			Strategy:                rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: steps}},
			RevisionHistoryLimit:    ptr.To[int32](10),
			ProgressDeadlineSeconds: ptr.To[int32](600),
		},
	}
}

func weight(w int32) rollouts.CanaryStep { return rollouts.CanaryStep{SetWeight: &w} }

func pause(duration string) rollouts.CanaryStep {
	p := &rollouts.RolloutPause{}
	if duration != "" {
		p.Duration = ptr.To(intstr.Parse(duration))
	}
	return rollouts.CanaryStep{Pause: p}
}

func approval(required int32) rollouts.CanaryStep {
	return rollouts.CanaryStep{Pause: &rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Required: &required}}}
}

func image(name string) func(*rollouts.RolloutSpec) {
	return func(spec *rollouts.RolloutSpec) {
		spec.Template = *spec.Template.DeepCopy()
		spec.Template.Spec.Containers[0].Image = name
	}
}

// deployed is a cluster in which the first revision is Healthy.
func deployed(t testing.TB, r *rollouts.Rollout) *simulator.Cluster {
	c := simulator.New(r, start)
	if !c.Settle(500) {
		t.Fatal("it does not settle")
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func planOf(t testing.TB, c *simulator.Cluster) *rollouts.RolloutPlanStatus {
	t.Helper()
	s := c.Snapshot()
	before := s.Rollout.DeepCopy()
	p, err := planner.Plan(context.Background(), s)
	must(t, err)
	if !apiequality.Semantic.DeepEqual(before, s.Rollout) {
		t.Error("the plan changed what it was made of")
	}
	return p
}

// lines are the steps of a plan as text.
func lines(p *rollouts.RolloutPlanStatus) string {
	var b strings.Builder
	for _, s := range p.Steps {
		index := "-"
		if s.Index != nil {
			index = fmt.Sprint(*s.Index)
		}
		fmt.Fprintf(&b, "%s %s %d%% %d+%d peak %d", index, s.Action, s.Weight, s.StableReplicas, s.CanaryReplicas, s.PeakReplicas)
		if s.Duration != nil {
			fmt.Fprintf(&b, " %s", s.Duration.Duration)
		}
		if s.UntilPromoted {
			b.WriteString(" people")
		}
		if s.Approval != nil {
			fmt.Fprintf(&b, " approval of %d", *s.Approval.Required)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	steps := []rollouts.CanaryStep{weight(20), pause("1h"), weight(60), approval(2)}
	for name, test := range map[string]struct {
		reach   func(t *testing.T, c *simulator.Cluster)
		lines   string
		phase   rollouts.RolloutPhase
		message string
	}{
		"nothing": {func(*testing.T, *simulator.Cluster) {}, "", "Healthy", "nothing to do: revision 1 is Healthy"},
		"an update": {func(_ *testing.T, c *simulator.Cluster) { c.Edit("v2", image("v2")) },
			"0 SetWeight 20% 4+1 peak 6\n1 Pause 20% 4+1 peak 5 1h0m0s\n2 SetWeight 60% 2+3 peak 7\n3 Pause 60% 2+3 peak 5 people approval of 2\n- Complete 100% 0+5 peak 7\n",
			"Healthy", "rolls out revision 2 in 5 steps, with at most 7 pods, 1 of which waits for somebody to promote"},
		"in the middle": {func(t *testing.T, c *simulator.Cluster) {
			c.Edit("v2", image("v2"))
			for len(c.Rollout.Status.PauseConditions) == 0 {
				c.Turn()
			}
			c.Sleep(20 * time.Minute)
		}, "1 Pause 20% 4+1 peak 5 40m0s\n2 SetWeight 60% 2+3 peak 7\n3 Pause 60% 2+3 peak 5 people approval of 2\n- Complete 100% 0+5 peak 7\n", "Healthy", "rolls out revision 2 in 4 steps"},
		"paused by hand": {func(t *testing.T, c *simulator.Cluster) {
			c.Edit("v2", image("v2"))
			must(t, c.Pause())
		}, "0 SetWeight 20% 4+1 peak 6\n1 Pause 20% 4+1 peak 5 1h0m0s\n2 SetWeight 60% 2+3 peak 7\n3 Pause 60% 2+3 peak 5 people approval of 2\n- Complete 100% 0+5 peak 7\n", "Healthy", "once it is resumed, rolls out"},
		"aborted": {func(t *testing.T, c *simulator.Cluster) {
			c.Edit("v2", image("v2"))
			c.Settle(500)
			must(t, c.Abort())
		}, "- Deploy 0% 5+0 peak 7\n", "Degraded", "takes all pods back from revision 2"},
		"aborted long ago": {func(t *testing.T, c *simulator.Cluster) {
			c.Edit("v2", image("v2"))
			c.Settle(500)
			must(t, c.Abort())
			c.Settle(500)
		}, "", "Degraded", "nothing to do: the update to revision 2 was aborted"},
		"in full": {func(t *testing.T, c *simulator.Cluster) {
			c.Edit("v2", image("v2"))
			c.Settle(500)
			must(t, c.PromoteAs(engine.Actor{Rights: []engine.Right{engine.RightOverride}}, engine.PromoteOptions{Full: true}))
		}, "- Deploy 100% 0+5 peak 7\n", "Healthy", "rolls out revision 2 in 1 step"},
		"more replicas": {func(_ *testing.T, c *simulator.Cluster) {
			c.Edit("replicas", func(spec *rollouts.RolloutSpec) { spec.Replicas = ptr.To[int32](8) })
		}, "- Deploy 100% 0+8 peak 8\n", "Healthy", "rolls out revision 1 in 1 step"},
		"back to stable": {func(_ *testing.T, c *simulator.Cluster) {
			c.Edit("v2", image("v2"))
			c.Settle(500)
			c.Edit("v1", image("v1"))
		}, "- Deploy 100% 0+5 peak 7\n", "Healthy", "rolls out revision 3 in 1 step"},
		"pods that fail": {func(_ *testing.T, c *simulator.Cluster) {
			c.Edit("bad", image("bad"))
			for range 3 {
				c.Turn()
			}
		}, "0 SetWeight 20% 4+1 peak 5\n1 Pause 20% 4+1 peak 5 1h0m0s\n2 SetWeight 60% 2+3 peak 7\n3 Pause 60% 2+3 peak 5 people approval of 2\n- Complete 100% 0+5 peak 7\n", "Healthy", "provided that"},
	} {
		t.Run(name, func(t *testing.T) {
			c := deployed(t, rollout(5, steps...))
			test.reach(t, c)
			p := planOf(t, c)
			if got := lines(p); got != test.lines {
				t.Errorf("planned\n%swant\n%s", got, test.lines)
			}
			if p.Phase != test.phase || !strings.Contains(p.Message, test.message) {
				t.Errorf("%s %q", p.Phase, p.Message)
			}
		})
	}
}

// The last step of a plan is the end of the update, whether there are pods left to be moved then or not.
func TestPlanEndsWithComplete(t *testing.T) {
	for name, test := range map[string]struct {
		steps []rollouts.CanaryStep
		lines string
	}{
		"no steps":      {nil, "- Deploy 100% 0+5 peak 7\n"},
		"some":          {[]rollouts.CanaryStep{weight(40)}, "0 SetWeight 40% 3+2 peak 7\n- Complete 100% 0+5 peak 7\n"},
		"all pods":      {[]rollouts.CanaryStep{weight(100)}, "0 SetWeight 100% 0+5 peak 7\n- Complete 100% 0+5 peak 5\n"},
		"all and pause": {[]rollouts.CanaryStep{weight(100), pause("")}, "0 SetWeight 100% 0+5 peak 7\n1 Pause 100% 0+5 peak 5 people\n- Complete 100% 0+5 peak 5\n"},
		"no pods yet":   {[]rollouts.CanaryStep{pause("1h")}, "0 Pause 0% 5+0 peak 5 1h0m0s\n- Complete 100% 0+5 peak 7\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := deployed(t, rollout(5, test.steps...))
			c.Edit("v2", image("v2"))
			if got := lines(planOf(t, c)); got != test.lines {
				t.Errorf("planned\n%swant\n%s", got, test.lines)
			}
		})
	}
}

func TestPlanOfAFirstDeployment(t *testing.T) {
	p := planOf(t, simulator.New(rollout(3, weight(20), pause("")), start))
	if got, want := lines(p), "- Deploy 100% 0+3 peak 3\n"; got != want {
		t.Errorf("planned %swant %s", got, want)
	}
}

func TestPlanOfWhatIsDeletedOrHeld(t *testing.T) {
	c := deployed(t, rollout(3))
	s := c.Snapshot()
	s.Rollout = s.Rollout.DeepCopy()
	s.Rollout.DeletionTimestamp = &metav1.Time{Time: start}
	p, err := planner.Plan(context.Background(), s)
	must(t, err)
	if len(p.Steps) > 0 || !strings.Contains(p.Message, "being deleted") {
		t.Errorf("%+v", p)
	}
}

func TestPlanEndsWithItsContext(t *testing.T) {
	c := deployed(t, rollout(3))
	c.Edit("v2", image("v2"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := planner.Plan(ctx, c.Snapshot()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestPlanIsWhatHappens: from random states, what the same engine then does on the cluster is what was planned: the
// same steps in the same order, as many pods at the end of each, and never more than the peak.
func TestPlanIsWhatHappens(t *testing.T) {
	anyStep := rapid.Custom(func(t *rapid.T) rollouts.CanaryStep {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return pause("")
		case 1:
			return pause(rapid.SampledFrom([]string{"1s", "10m"}).Draw(t, "pause"))
		default:
			return weight(rapid.Int32Range(0, 100).Draw(t, "weight"))
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		r := rollout(rapid.Int32Range(0, 12).Draw(rt, "replicas"), rapid.SliceOfN(anyStep, 0, 5).Draw(rt, "steps")...)
		r.Spec.Strategy.Canary.MaxSurge = ptr.To(intstr.Parse(rapid.SampledFrom([]string{"1", "25%", "50%"}).Draw(rt, "surge")))
		c := deployed(t, r)
		c.Edit("v2", image("v2"))
		for range rapid.IntRange(0, 6).Draw(rt, "turns") {
			c.Turn()
		}
		p := planOf(t, c)
		happened := follow(c)
		var planned []string
		for _, s := range p.Steps {
			if s.Index != nil {
				planned = append(planned, fmt.Sprintf("%d: %d+%d", *s.Index, s.StableReplicas, s.CanaryReplicas))
			}
		}
		if strings.Join(planned, "\n") != strings.Join(happened.steps, "\n") {
			rt.Fatalf("planned\n%s\nhappened\n%s\n%s", strings.Join(planned, "\n"), strings.Join(happened.steps, "\n"), c.Trace())
		}
		if happened.peak > p.PeakReplicas {
			rt.Fatalf("planned at most %d pods, there were %d", p.PeakReplicas, happened.peak)
		}
		surge, err := intstr.GetScaledValueFromIntOrPercent(r.Spec.Strategy.Canary.MaxSurge, int(*r.Spec.Replicas), true)
		if err != nil || p.PeakReplicas > *r.Spec.Replicas+int32(surge) {
			rt.Fatalf("planned %d pods of %d, with maxSurge %d (%v)", p.PeakReplicas, *r.Spec.Replicas, surge, err)
		}
		if c.Rollout.Status.Phase != p.Phase {
			rt.Fatalf("planned to end %s, ended %s", p.Phase, c.Rollout.Status.Phase)
		}
	})
}

// history is what happened to a cluster.
type history struct {
	steps []string
	peak  int32
}

// follow lets a cluster go on to its end, promoting whenever somebody must. Its peak is of the worst case: that of
// two ReplicaSets which change together the one that grows does so first.
func follow(c *simulator.Cluster) (h history) {
	c.OnWrite = func(*appsv1.ReplicaSet, *appsv1.ReplicaSet) {
		total := int32(0)
		for _, rs := range c.ReplicaSets() {
			total += max(*rs.Spec.Replicas, int32(len(c.PodsOf(rs))))
		}
		h.peak = max(h.peak, total)
	}
	for {
		step, pods := stepOf(c), podsOf(c)
		turned := c.Turn()
		if !turned && c.Promote(false) != nil {
			return h
		}
		if step >= 0 && stepOf(c) != step {
			h.steps = append(h.steps, fmt.Sprintf("%d: %s", step, pods))
		}
	}
}

// stepOf is the index of the step of an update in flight; -1 if there is none.
func stepOf(c *simulator.Cluster) int32 {
	r := c.Rollout
	index := ptr.Deref(r.Status.CurrentStepIndex, 0)
	if r.Status.StableRS == r.Status.CurrentPodHash || int(index) >= len(r.Spec.Strategy.Canary.Steps) {
		return -1
	}
	return index
}

func podsOf(c *simulator.Cluster) string {
	var canary, others int
	for _, rs := range c.ReplicaSets() {
		if rs.Labels[rollouts.PodTemplateHashLabel] == c.Rollout.Status.CurrentPodHash {
			canary += len(c.PodsOf(rs))
		} else {
			others += len(c.PodsOf(rs))
		}
	}
	return fmt.Sprintf("%d+%d", others, canary)
}

func BenchmarkPlanOfThousandPods(b *testing.B) {
	c := deployed(b, rollout(1000, weight(10), pause("1h"), weight(50), pause("")))
	c.Edit("v2", image("v2"))
	for b.Loop() {
		planOf(b, c)
	}
}
