// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: the API design, "Approvals": what would slip past people needs a right of its own.

// NeededRight is a right that a change of the spec needs besides that to update Rollouts.
type NeededRight struct {
	// Right is what is needed.
	Right Right
	// Field is the path of what the change takes away.
	Field string
	// Message says why.
	Message string
}

// RightsToEdit are the rights that a change of the spec needs, each once: to weaken or remove an approval,
// or to let an update past a pause that waits for people. nil if there is none.
func RightsToEdit(old, new *rollouts.Rollout) []NeededRight {
	if sameStrategy(old, new) && stepsEqual(steps(old), steps(new)) && ptr.Equal(blueGreenGate(old), blueGreenGate(new)) && !opensReturn(old, new) {
		return nil
	}
	before, after := gatesOf(old), gatesOf(new)
	var needed []NeededRight
	approvals := slices.DeleteFunc(slices.Clone(before), func(g gate) bool { return g.approval == nil })
	if lost := unmatched(approvals, after, asStrongApproval); lost != nil {
		needed = append(needed, NeededRight{Right: RightOverride, Field: lost.field(),
			Message: fmt.Sprintf("this removes or weakens the approval that step %d asks for, or lets more pods past it", lost.index)})
	}
	if !updateInFlight(old) || old.Status.PromoteFull {
		return needed
	}
	ahead := slices.DeleteFunc(slices.Clone(before), func(g gate) bool {
		return g.index < int(stepIndex(old)) || g.active != "" && promotedOn(old)
	})
	if lost := unmatched(ahead, after, asFar); lost != nil {
		needed = append(needed, NeededRight{Right: RightPromote, Field: lost.field(),
			Message: fmt.Sprintf("this takes the update in flight past %s, which somebody is to promote", lost.pause())})
	} else if len(ahead) > 0 && opensReturn(old, new) {
		needed = append(needed, NeededRight{Right: RightPromote, Field: "spec.rollbackWindow",
			Message: fmt.Sprintf("by this window the update in flight may be a return to a recent revision, which does not wait in %s", ahead[0].pause())})
	}
	return needed
}

// opensReturn is true if an update in flight that waited may not do so any more for spec.rollbackWindow: blueGreen looks
// at it all the time, where canary does when the template is changed.
func opensReturn(old, new *rollouts.Rollout) bool {
	had := int32(0)
	if blueGreen(old) != nil {
		had = windowOf(old)
	}
	return blueGreen(new) != nil && windowOf(new) > had
}

// RightsToRestate are the rights that a change of the status needs, if somebody else makes it than the controller: to
// say by hand that an update is past what waits for people. nil if there is none.
func RightsToRestate(old, new *rollouts.Rollout) []NeededRight {
	field := restated(old, new)
	waiting := gatesOf(old)
	if field == "" || len(waiting) == 0 {
		return nil
	}
	right := RightPromote
	if slices.ContainsFunc(waiting, func(g gate) bool { return g.approval != nil }) {
		right = RightOverride
	}
	return []NeededRight{{Right: right, Field: "status." + field,
		Message: "this decides where the update stands, which the steps leave to people"}}
}

// restated is the first field that decides where an update stands and that is not the same; empty if all are.
func restated(before, after *rollouts.Rollout) string {
	old, new := &before.Status, &after.Status
	switch {
	case promotedOn(before) != promotedOn(after) && old.PromoteFull == new.PromoteFull:
		return "blueGreen.scaleUpPreviewCheckPoint"
	case !ptr.Equal(old.CurrentStepIndex, new.CurrentStepIndex):
		return "currentStepIndex"
	case old.PromoteFull != new.PromoteFull:
		return "promoteFull"
	case old.StableRS != new.StableRS:
		return "stableRS"
	case old.CurrentPodHash != new.CurrentPodHash:
		return "currentPodHash"
	default:
		return ""
	}
}

// gate is a step that waits for people.
type gate struct {
	index int
	// reach is the highest weight that any step before it sets. Unit: percent.
	reach int32
	// approval is what it asks for; nil for a plain pause without an end.
	approval *rollouts.PauseApproval
	// active is the Service that is switched when the gate of blueGreen is passed; empty for a step.
	active string
}

// gatesOf are what waits for people in the strategy of a Rollout.
func gatesOf(r *rollouts.Rollout) []gate {
	if g := blueGreenGate(r); g != nil {
		return []gate{*g}
	}
	return gates(steps(r))
}

// blueGreenGate is the wait of blueGreen for a promote, which lets no client past it; nil if there is none.
func blueGreenGate(r *rollouts.Rollout) *gate {
	bg := blueGreen(r)
	if bg == nil || ptr.Deref(bg.AutoPromotionEnabled, true) {
		return nil
	}
	return &gate{active: bg.ActiveService}
}

// pause is how people call the wait.
func (g gate) pause() string {
	if g.active != "" {
		return "the pause of blueGreen before Service " + g.active + " is switched"
	}
	return fmt.Sprintf("the pause of step %d", g.index)
}

func (g gate) field() string {
	if g.active != "" {
		return "spec.strategy.blueGreen.autoPromotionEnabled"
	}
	if g.approval != nil {
		return fmt.Sprintf("spec.strategy.canary.steps[%d].pause.approval", g.index)
	}
	return fmt.Sprintf("spec.strategy.canary.steps[%d].pause", g.index)
}

// gates are the steps that wait for people, in their order.
func gates(list []rollouts.CanaryStep) []gate {
	var all []gate
	var reach int32
	for i, s := range list {
		switch {
		case s.SetWeight != nil:
			reach = max(reach, *s.SetWeight)
		case s.Pause != nil && (s.Pause.Duration == nil || s.Pause.Approval != nil):
			all = append(all, gate{index: i, reach: reach, approval: s.Pause.Approval})
		}
	}
	return all
}

// unmatched is the first of old that none of new, in the same order, stands for; nil if all are stood for.
// The earliest match is always as good as a later one.
func unmatched(old, new []gate, standsFor func(new, old gate) bool) *gate {
	for i := range old {
		at := slices.IndexFunc(new, func(n gate) bool { return standsFor(n, old[i]) })
		if at < 0 {
			return &old[i]
		}
		new = new[at+1:]
	}
	return nil
}

// asFar is true if a gate lets no more pods past it than another. Two of blueGreen must be about the same Service: else
// clients could be led to the new revision by the other one.
func asFar(new, old gate) bool {
	return new.reach <= old.reach && (new.active == "" || old.active == "" || new.active == old.active)
}

// asStrongApproval is true if an approval asks for no less than another.
func asStrongApproval(new, old gate) bool {
	a, b := new.approval, old.approval
	return a != nil && asFar(new, old) &&
		required(a) >= required(b) &&
		(excludesAuthors(a) || !excludesAuthors(b)) &&
		asNarrow(a.Groups, b.Groups) &&
		asShort(a, b)
}

// asNarrow is true if whoever is in one of new is in one of old.
func asNarrow(new, old []string) bool {
	if len(old) == 0 {
		return true
	}
	return len(new) > 0 && !slices.ContainsFunc(new, func(g string) bool { return !slices.Contains(old, g) })
}

// asShort is true if an approval expires no later than another.
func asShort(a, b *rollouts.PauseApproval) bool {
	if b.ExpireAfter == nil {
		return true
	}
	if a.ExpireAfter == nil {
		return false
	}
	new, err := PauseDuration(a.ExpireAfter)
	old, oldErr := PauseDuration(b.ExpireAfter)
	return err == nil && oldErr == nil && new <= old
}
