// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// approvalWith is a pause for approval, changed.
func approvalWith(required int32, change func(*rollouts.PauseApproval)) rollouts.CanaryStep {
	s := approval(required, "a", "b")
	s.Pause.Approval.ExpireAfter = ptr.To(intstr.FromString("1h"))
	if change != nil {
		change(s.Pause.Approval)
	}
	return s
}

func TestRightsToEdit(t *testing.T) {
	gated := []rollouts.CanaryStep{weight(20), approvalWith(2, nil), weight(50), pause("")}
	with := func(i int, s rollouts.CanaryStep) []rollouts.CanaryStep {
		list := slices.Clone(gated)
		list[i] = s
		return list
	}
	const override, promote = "override on rollouts", "create on rollouts/promote"
	for name, test := range map[string]struct {
		steps []rollouts.CanaryStep
		// healthy and inFlight are the rights that the edit needs when no update is in flight, and at step 0.
		healthy, inFlight []string
	}{
		"the same":                       {gated, nil, nil},
		"emptied":                        {nil, []string{override}, []string{override, promote}},
		"approval removed":               {slices.Delete(slices.Clone(gated), 1, 2), []string{override}, []string{override, promote}},
		"approval made a plain pause":    {with(1, pause("")), []string{override}, []string{override}},
		"approval made a timed pause":    {with(1, pause("1s")), []string{override}, []string{override, promote}},
		"fewer required":                 {with(1, approvalWith(1, nil)), []string{override}, []string{override}},
		"more required":                  {with(1, approvalWith(3, nil)), nil, nil},
		"another group may":              {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.Groups = []string{"a", "b", "c"} })), []string{override}, []string{override}},
		"everybody may":                  {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.Groups = nil })), []string{override}, []string{override}},
		"fewer groups may":               {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.Groups = []string{"a"} })), nil, nil},
		"authors may":                    {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.NotAuthor = ptr.To(false) })), []string{override}, []string{override}},
		"notAuthor left to its default":  {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.NotAuthor = nil })), nil, nil},
		"never expires":                  {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.ExpireAfter = nil })), []string{override}, []string{override}},
		"expires later":                  {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.ExpireAfter = ptr.To(intstr.FromString("2h")) })), []string{override}, []string{override}},
		"expires sooner":                 {with(1, approvalWith(2, func(a *rollouts.PauseApproval) { a.ExpireAfter = ptr.To(intstr.FromInt32(60)) })), nil, nil},
		"more pods before the approval":  {with(0, weight(100)), []string{override}, []string{override, promote}},
		"fewer pods before the approval": {with(0, weight(5)), nil, nil},
		"approval moved behind a weight": {[]rollouts.CanaryStep{weight(20), weight(50), approvalWith(2, nil), pause("")}, []string{override}, []string{override, promote}},
		"pause removed":                  {gated[:3], nil, []string{promote}},
		"pause made a timed one":         {with(3, pause("1s")), nil, []string{promote}},
		"pause made an approval":         {with(3, approvalWith(1, nil)), nil, nil},
		"more weight before the pause":   {with(2, weight(90)), nil, []string{promote}},
		"a step more":                    {append(slices.Clone(gated), weight(70), pause("")), nil, nil},
		"a pause before all":             {append([]rollouts.CanaryStep{pause("")}, gated...), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(10, gated...))
			check := func(state string, want []string) {
				edited := w.Rollout.DeepCopy()
				edited.Spec.Strategy.Canary.Steps = test.steps
				var got []string
				for _, n := range engine.RightsToEdit(w.Rollout, edited) {
					got = append(got, n.Right.String())
					if n.Field == "" || n.Message == "" {
						t.Errorf("%s: %+v says too little", state, n)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: needs %v, want %v", state, got, want)
				}
			}
			check("Healthy", test.healthy)
			w.edit("v2", image("v2"))
			w.Reconcile()
			check("in flight", test.inFlight)
		})
	}
}

func TestNoCanaryAtAllNeedsOverride(t *testing.T) {
	w := deployed(t, rollout(4, weight(20), approval(1)))
	edited := w.Rollout.DeepCopy()
	edited.Spec.Strategy.Canary = nil
	if needed := engine.RightsToEdit(w.Rollout, edited); len(needed) != 1 || needed[0].Right != engine.RightOverride {
		t.Errorf("needs %+v", needed)
	}
}

func TestPausesThatArePastNeedNoRight(t *testing.T) {
	w := deployed(t, rollout(4, weight(20), pause(""), weight(50), pause("1h")))
	w.update("v2")
	w.must(w.Promote(false))
	edited := w.Rollout.DeepCopy()
	edited.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{weight(20), weight(50), pause("1h")}
	if needed := engine.RightsToEdit(w.Rollout, edited); needed != nil {
		t.Errorf("needs %+v", needed)
	}
}

// TestEditsWithoutARightNeverPassAGate: from random steps with gates, an edit for which no right is needed leaves
// each gate's pods no higher than it let them, whoever does not promote.
func TestEditsWithoutARightNeverPassAGate(t *testing.T) {
	gatedSteps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rollouts.CanaryStep {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return approval(rapid.Int32Range(1, 2).Draw(t, "required"))
		case 1:
			return pause("")
		default:
			return weight(rapid.Int32Range(0, 100).Draw(t, "weight"))
		}
	}), 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		before, after := gatedSteps.Draw(t, "before"), gatedSteps.Draw(t, "after")
		old := rollout(10, before...)
		new := rollout(10, after...)
		if rapid.Bool().Draw(t, "the same and more") {
			new.Spec.Strategy.Canary.Steps = append(slices.Clone(before), after...)
		}
		old.Status.StableRS, old.Status.CurrentPodHash = "stable", "canary"
		old.Status.CurrentStepIndex = ptr.To[int32](0)
		if engine.RightsToEdit(old, new) != nil {
			return
		}
		gate, reach := firstGate(before)
		if gate < 0 {
			return
		}
		if now, nowReach := firstGate(new.Spec.Strategy.Canary.Steps); now < 0 || nowReach > reach {
			t.Fatalf("the first gate let %d %% pass, now it is at %d and lets %d %%", reach, now, nowReach)
		}
	})
}

// firstGate is the index of the first step that waits for people, and the highest weight before it; -1 if none.
func firstGate(list []rollouts.CanaryStep) (index int, reach int32) {
	for i, s := range list {
		if s.Pause != nil && s.Pause.Duration == nil {
			return i, reach
		}
		if s.SetWeight != nil {
			reach = max(reach, *s.SetWeight)
		}
	}
	return -1, reach
}
