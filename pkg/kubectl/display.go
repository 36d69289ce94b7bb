// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"io"
	"slices"
	"time"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/live"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// display is where a tree is shown that changes.
type display interface {
	show(tree *v1alpha1.RolloutTree, problem error, paint view.Painter) error
}

// terminal repaints in place.
type terminal struct{ screen *live.Screen }

func (t *terminal) show(tree *v1alpha1.RolloutTree, problem error, paint view.Painter) error {
	lines := view.Rollout(tree, time.Now(), paint)
	if problem != nil {
		lines = append(lines, "", paint(view.Warning, problem.Error()))
	}
	return t.screen.Paint(lines)
}

// pipe prints a block for each change. That ages have grown is none.
type pipe struct {
	out      io.Writer
	problems problems
	last     []string
}

func (p *pipe) show(tree *v1alpha1.RolloutTree, problem error, _ view.Painter) error {
	p.problems.tell(problem)
	ageless := view.Rollout(tree, time.Time{}, view.NoColour)
	if slices.Equal(ageless, p.last) {
		return nil
	}
	lines := view.Rollout(tree, time.Now(), view.NoColour)
	if p.last != nil {
		lines = slices.Insert(lines, 0, "")
	}
	p.last = ageless
	return writeLines(p.out, lines)
}

// problems tells why what is shown may be out of date, each time that this changes.
type problems struct {
	out  io.Writer
	last string
}

func (p *problems) tell(problem error) {
	now := ""
	if problem != nil {
		now = problem.Error()
	}
	if now != "" && now != p.last {
		fmt.Fprintln(p.out, now)
	}
	p.last = now
}

func writeLines(w io.Writer, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
