// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// labelWidth is the width of the first column of the header.
const labelWidth = 17

// header prints what holds for the Rollout as a whole, a line a fact. Facts that do not apply are left out.
func header(s Snapshot, paint Painter) []string {
	r := s.Rollout
	var lines []string
	add := func(label string, value any) {
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%-*s%v", labelWidth, label, value), " "))
	}
	phase, message := Phase(r)
	add("Name:", r.Name)
	add("Namespace:", r.Namespace)
	add("Status:", cell{phaseStatus(phase).span()}.paint(paint))
	if message != "" {
		add("Message:", message)
	}
	add("Strategy:", strategyName(r))
	if r.Spec.Strategy.Canary != nil {
		if step := stepOf(r); step != "" {
			add("  Step:", step)
		}
		add("  SetWeight:", setWeight(r))
		add("  ActualWeight:", s.actualWeight())
	}
	for i, image := range images(s) {
		label := ""
		if i == 0 {
			label = "Images:"
		}
		add(label, image.paint(paint))
	}
	add("Replicas:", "")
	add("  Desired:", desiredReplicas(r))
	add("  Current:", r.Status.Replicas)
	add("  Updated:", r.Status.UpdatedReplicas)
	add("  Ready:", r.Status.ReadyReplicas)
	add("  Available:", r.Status.AvailableReplicas)
	return lines
}

// images are the images that run now, each with the roles of the revisions that run it, by name.
func images(s Snapshot) []cell {
	roles := map[string]sets.Set[string]{}
	for _, rs := range s.replicaSets() {
		if rs.Spec.Replicas != nil && *rs.Spec.Replicas == 0 {
			continue
		}
		for i := range rs.Spec.Template.Spec.Containers {
			image := rs.Spec.Template.Spec.Containers[i].Image
			if roles[image] == nil {
				roles[image] = sets.New[string]()
			}
			roles[image].Insert(role(s, rs).text)
		}
	}
	var cells []cell
	for _, image := range sets.List(sets.KeySet(roles)) {
		shown := text(image)
		for _, tag := range []span{roleStable, roleCanary} {
			if roles[image].Has(tag.text) {
				shown = append(shown, span{text: " "}, span{tag.tone, "(" + tag.text + ")"})
			}
		}
		cells = append(cells, shown)
	}
	return cells
}
