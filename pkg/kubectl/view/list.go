// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// List prints Rollouts as a table that grows downwards: Update may be called time and again with all there
// are, and returns lines for those that have changed. Columns stay where they are until something wider
// comes.
type List struct {
	// Namespaces puts the namespace in front of every row.
	Namespaces bool

	widths  widths
	printed map[string]row
}

// row is what was last printed of one Rollout.
type row []string

// statusColumn is where the phase stands in a row.
const statusColumn = 3

var listHeader = row{"NAMESPACE", "NAME", "STRATEGY", "STATUS", "STEP", "SET-WEIGHT", "READY", "DESIRED", "UP-TO-DATE", "AVAILABLE"}

// Update returns a line for each Rollout that is new or whose row has changed since the last call, and one
// with the status Deleted for each that is gone, under the header if it is the first line ever.
func (l *List) Update(rollouts []*v1alpha1.Rollout) []string {
	rows := l.changed(rollouts)
	if len(rows) == 0 {
		return nil
	}
	if l.widths == nil {
		rows = slices.Insert(rows, 0, listHeader)
	}
	var cells [][]cell
	for _, row := range rows {
		cells = append(cells, l.cells(row))
	}
	for _, row := range cells {
		l.widths = l.widths.grow(row)
	}
	lines := make([]string, 0, len(cells))
	for _, row := range cells {
		lines = append(lines, l.widths.line(row, NoColour))
	}
	return lines
}

func (l *List) changed(rollouts []*v1alpha1.Rollout) []row {
	before := l.printed
	l.printed = map[string]row{}
	var rows []row
	for _, r := range rollouts {
		now := rowOf(r)
		key := r.Namespace + "/" + r.Name
		l.printed[key] = now
		if !slices.Equal(before[key], now) {
			rows = append(rows, now)
		}
	}
	for key, last := range before {
		if _, there := l.printed[key]; !there {
			last[statusColumn] = "Deleted"
			rows = append(rows, last)
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	return rows
}

func rowOf(r *v1alpha1.Rollout) row {
	phase, _ := Phase(r)
	step, weight := stepOf(r), fmt.Sprint(setWeight(r))
	if step == "" {
		step = "-"
	}
	if r.Spec.Strategy.BlueGreen != nil {
		weight = "-"
	}
	return row{
		r.Namespace,
		r.Name,
		strategyName(r),
		string(phase),
		step,
		weight,
		fmt.Sprintf("%d/%d", r.Status.ReadyReplicas, r.Status.Replicas),
		fmt.Sprint(desiredReplicas(r)),
		fmt.Sprint(r.Status.UpdatedReplicas),
		fmt.Sprint(r.Status.AvailableReplicas),
	}
}

func (l *List) cells(r row) []cell {
	if !l.Namespaces {
		r = r[1:]
	}
	var cells []cell
	for _, value := range r {
		cells = append(cells, text(value))
	}
	return cells
}

// stepOf is how many steps are done and how many there are; empty if there are none.
func stepOf(r *v1alpha1.Rollout) string {
	if Steps(r) == 0 || r.Status.CurrentStepIndex == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", *r.Status.CurrentStepIndex, Steps(r))
}
