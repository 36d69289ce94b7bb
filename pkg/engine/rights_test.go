// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
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

// TestRightsToSwitchToBlueGreen: blueGreen asks for no approval, and if it promotes by itself for nobody at all; one that
// waits for a promote stands for one pause, unless the update may be a return that waits for nothing.
func TestRightsToSwitchToBlueGreen(t *testing.T) {
	gated := []rollouts.CanaryStep{weight(20), approval(2, "a")}
	plain := []rollouts.CanaryStep{weight(20), pause("")}
	const override, promote = "override on rollouts", "create on rollouts/promote"
	for name, test := range map[string]struct {
		steps             []rollouts.CanaryStep
		to                []func(*rollouts.BlueGreenStrategy)
		window            int32
		healthy, inFlight []string
	}{
		"an approval to automatic":          {gated, nil, 0, []string{override}, []string{override, promote}},
		"an approval to after a time":       {gated, []func(*rollouts.BlueGreenStrategy){promotedAfter(60)}, 0, []string{override}, []string{override, promote}},
		"an approval to manual":             {gated, []func(*rollouts.BlueGreenStrategy){manual}, 0, []string{override}, []string{override}},
		"an approval to manual, and window": {gated, []func(*rollouts.BlueGreenStrategy){manual}, 1, []string{override}, []string{override, promote}},
		"a pause to automatic":              {plain, nil, 0, nil, []string{promote}},
		"a pause to after a time":           {plain, []func(*rollouts.BlueGreenStrategy){promotedAfter(60)}, 0, nil, []string{promote}},
		"a pause to manual":                 {plain, []func(*rollouts.BlueGreenStrategy){manual}, 0, nil, nil},
		"a pause to manual, and window":     {plain, []func(*rollouts.BlueGreenStrategy){manual}, 1, nil, []string{promote}},
		"two pauses to manual":              {append(slices.Clone(plain), pause("")), []func(*rollouts.BlueGreenStrategy){manual}, 0, nil, []string{promote}},
		"no pause to automatic":             {plain[:1], nil, 1, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(10, test.steps...))
			check := func(state string, want []string) {
				t.Helper()
				edited := w.Rollout.DeepCopy()
				edited.Spec.Strategy = blueGreen(10, test.to...).Spec.Strategy
				rollbackWindow(test.window)(&edited.Spec)
				var got []string
				for _, n := range engine.RightsToEdit(w.Rollout, edited) {
					got = append(got, n.Right.String())
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

// TestStepsAreComparedNotTheirHashes: whoever writes steps can choose names in them until a short hash of theirs is
// that of others. These two lists had the same one, when it was of 32 bits.
func TestStepsAreComparedNotTheirHashes(t *testing.T) {
	open := approval(1, "ghr92rxc")
	open.Pause.Approval.NotAuthor = ptr.To(false)
	w := deployed(t, rollout(4, weight(20), approval(2, "release-managers")))
	edited := w.Rollout.DeepCopy()
	edited.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{weight(100), open}
	if needed := engine.RightsToEdit(w.Rollout, edited); len(needed) != 1 || needed[0].Right != engine.RightOverride {
		t.Errorf("needs %+v", needed)
	}
	if a, b := w.Rollout.Status.CurrentStepHash, engine.Edited(w.Rollout, edited, nil, "mallory").Status.CurrentStepHash; a == b {
		t.Errorf("both have the hash %s", a)
	}
}

// TestEditsWithoutARightNeverPassAGate: after any number of edits for which no right is needed, every set of people
// that would get the update past its gates would have got it past those of the beginning, and no more pods are let
// past any of them. Judged by what the gates mean, for all sets of a few people, and not by comparing their fields.
func TestEditsWithoutARightNeverPassAGate(t *testing.T) {
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		began := gatedSteps.Draw(t, "steps")
		old := rollout(10, began...)
		old.Status.StableRS, old.Status.CurrentPodHash = "stable", "canary"
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			index := int32(rapid.IntRange(0, len(stepsOf(old))).Draw(t, "current step"))
			old.Status.CurrentStepIndex = &index
			edited := old.DeepCopy()
			edited.Spec.Strategy.Canary.Steps = rapid.OneOf(gatedSteps, rapid.Custom(func(t *rapid.T) []rollouts.CanaryStep { return mutated(t, stepsOf(old)) })).Draw(t, "edited")
			if engine.RightsToEdit(old, edited) != nil {
				continue
			}
			allowed++
			if lost := lostGate(stepsOf(old), index, stepsOf(edited), waitsForPeople, func(_, _ rollouts.CanaryStep) bool { return true }); lost >= 0 {
				t.Fatalf("the gate of step %d is lost in %v", lost, stepsOf(edited))
			}
			old = edited
		}
		if lost := lostGate(began, 0, stepsOf(old), asksForApproval, asStrict); lost >= 0 {
			t.Fatalf("the approval of step %d is lost in %v", lost, stepsOf(old))
		}
	})
	if allowed == 0 {
		t.Error("every edit needed a right")
	}
}

func asksForApproval(s rollouts.CanaryStep) bool { return approvalOf(s) != nil }

// lostGate is the first of the gates of old that count, from a step on, for which there is none in new, in the same
// order, that lets no more pods past and is as good; -1 if there is none.
func lostGate(old []rollouts.CanaryStep, from int32, new []rollouts.CanaryStep, counts func(rollouts.CanaryStep) bool, asGood func(new, old rollouts.CanaryStep) bool) int {
	next := 0
	for i := int(from); i < len(old); i++ {
		if !counts(old[i]) {
			continue
		}
		for next < len(new) && !(waitsForPeople(new[next]) && reachOf(new, next) <= reachOf(old, i) && asGood(new[next], old[i])) {
			next++
		}
		if next == len(new) {
			return i
		}
		next++
	}
	return -1
}

// asStrict is true if whoever ends one step would have ended another as well: tried with every three of the people
// who differ in what matters, each with an approval of a moment or of half a minute ago. None asks for more.
func asStrict(new, old rollouts.CanaryStep) bool {
	if apiequality.Semantic.DeepEqual(new, old) {
		return true
	}
	for _, one := range crowd {
		for _, two := range crowd {
			for _, three := range crowd {
				some := []approver{one, two, three}
				for n := 1; n <= len(some); n++ {
					if satisfied(approvalOf(new), some[:n]) && !satisfied(approvalOf(old), some[:n]) {
						return false
					}
				}
			}
		}
	}
	return true
}

type approver struct {
	groups []string
	author bool
	ago    time.Duration
}

// crowd has one of each kind of people; whoever is there twice is two people of that kind.
var crowd = func() (all []approver) {
	for _, groups := range [][]string{nil, {"a"}, {"b"}, {"a", "b"}} {
		for _, author := range []bool{false, true} {
			for _, ago := range []time.Duration{0, 30 * time.Second} {
				all = append(all, approver{groups, author, ago})
			}
		}
	}
	return all
}()

// satisfied is true if these people are who an approval asks for; a plain pause asks for anybody.
func satisfied(a *rollouts.PauseApproval, some []approver) bool {
	if a == nil {
		return len(some) > 0
	}
	length, _ := engine.PauseDuration(a.ExpireAfter)
	var n int32
	for _, one := range some {
		in := len(a.Groups) == 0 || slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(one.groups, g) })
		if in && !(one.author && ptr.Deref(a.NotAuthor, true)) && (a.ExpireAfter == nil || one.ago < length) {
			n++
		}
	}
	return n >= ptr.Deref(a.Required, 1)
}
