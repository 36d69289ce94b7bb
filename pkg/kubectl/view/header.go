// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// labelWidth is the width of the first column of the header.
const labelWidth = 17

// header prints what holds for the Rollout as a whole, a line a fact. Facts that do not apply are left out.
func header(tree *v1alpha1.RolloutTree, paint Painter) []string {
	r := &tree.Rollout
	var lines []string
	add := func(label string, value any) {
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%-*s%v", labelWidth, label, value), " "))
	}
	add("Name:", tree.Name)
	add("Namespace:", tree.Namespace)
	add("Status:", cell{phaseStatus(r.Phase).span()}.paint(paint))
	if r.Message != "" {
		add("Message:", Printable(r.Message))
	}
	add("Strategy:", cmp.Or(r.Strategy, noStrategy))
	if r.Strategy != "" && r.Strategy != strategyBlueGreen {
		if r.Steps > 0 && r.StepIndex != nil {
			add("  Step:", fmt.Sprintf("%d/%d", *r.StepIndex, r.Steps))
		}
		add("  SetWeight:", r.SetWeight)
		add("  ActualWeight:", r.ActualWeight)
	}
	for i, image := range images(tree) {
		label := ""
		if i == 0 {
			label = "Images:"
		}
		add(label, image.paint(paint))
	}
	add("Replicas:", "")
	add("  Desired:", r.Replicas)
	add("  Current:", r.CurrentReplicas)
	add("  Updated:", r.UpdatedReplicas)
	add("  Ready:", r.ReadyReplicas)
	add("  Available:", r.AvailableReplicas)
	return lines
}

// images are the images that run now, each with the roles of the revisions that run it, by name.
func images(tree *v1alpha1.RolloutTree) []cell {
	roles := map[string]sets.Set[v1alpha1.TreeRole]{}
	for i := range tree.Revisions {
		for _, rs := range tree.Revisions[i].ReplicaSets {
			if rs.Replicas == 0 {
				continue
			}
			for _, image := range rs.Images {
				if roles[image] == nil {
					roles[image] = sets.New[v1alpha1.TreeRole]()
				}
				roles[image].Insert(rs.Role)
			}
		}
	}
	var cells []cell
	for _, image := range sets.List(sets.KeySet(roles)) {
		shown := text(image)
		for _, role := range []v1alpha1.TreeRole{v1alpha1.TreeRoleStable, v1alpha1.TreeRoleCanary, v1alpha1.TreeRoleActive, v1alpha1.TreeRolePreview, v1alpha1.TreeRoleDelay} {
			if roles[image].Has(role) {
				shown = append(shown, span{text: " "}, span{roleTone(role), "(" + string(role) + ")"})
			}
		}
		cells = append(cells, shown)
	}
	return cells
}
