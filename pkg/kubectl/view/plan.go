// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Plan prints what will happen: a table of the steps, and a sentence about the whole.
func Plan(plan *v1alpha1.RolloutPlan) []string {
	var lines []string
	if len(plan.Status.Steps) > 0 {
		rows := [][]cell{{text("STEP"), text("ACTION"), text("WEIGHT"), text("STABLE"), text("CANARY"), text("PEAK"), text("WAIT")}}
		for i := range plan.Status.Steps {
			rows = append(rows, plannedStep(&plan.Status.Steps[i]))
		}
		lines = append(layout(rows, NoColour), "")
	}
	return append(lines, Printable(plan.Status.Message))
}

func plannedStep(step *v1alpha1.PlannedStep) []cell {
	index := "-"
	if step.Index != nil {
		index = fmt.Sprint(*step.Index)
	}
	return []cell{
		text(index), text(string(step.Action)), text(fmt.Sprint(step.Weight)), text(fmt.Sprint(step.StableReplicas)),
		text(fmt.Sprint(step.CanaryReplicas)), text(fmt.Sprint(step.PeakReplicas)), text(plannedWait(step)),
	}
}

// plannedWait is what ends a step that is waited in; empty if nothing needs to.
func plannedWait(step *v1alpha1.PlannedStep) string {
	switch {
	case step.Approval != nil:
		return approval(step.Approval)
	case step.Duration != nil:
		return length(step.Duration.Duration)
	case step.UntilPromoted:
		return "until promoted"
	}
	return ""
}

// approval says whose promotes a step asks for.
func approval(a *v1alpha1.PauseApproval) string {
	asked := "1 approval"
	if required := ptr.Deref(a.Required, 1); required != 1 {
		asked = fmt.Sprintf("%d approvals", required)
	}
	if len(a.Groups) > 0 {
		asked += " of " + strings.Join(a.Groups, " or ")
	}
	if ptr.Deref(a.NotAuthor, true) {
		asked += ", not of an author"
	}
	return asked
}

// length is a duration as people write it: 10m, not 10m0s, and 30s while 29.1 are left.
func length(d time.Duration) string {
	s := (d + time.Second - 1).Truncate(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
