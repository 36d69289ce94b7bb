// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Explanation prints why a Rollout stands where it stands, with what to look at first in front. Times are
// held against now.
func Explanation(e *v1alpha1.RolloutExplanation, now time.Time, paint Painter) []string {
	standing := []string{cell{phaseStatus(e.Status.Phase).span()}.paint(paint)}
	if e.Status.Message != "" {
		standing = append(standing, Printable(e.Status.Message))
	}
	lines := []string{strings.Join(standing, ": ")}
	if len(e.Status.Blockers) == 0 {
		return append(lines, nothingBlocks(e.Status.Phase))
	}
	for i := range e.Status.Blockers {
		lines = append(lines, "")
		lines = append(lines, blocker(&e.Status.Blockers[i], now, paint)...)
	}
	return lines
}

func nothingBlocks(phase v1alpha1.RolloutPhase) string {
	if phase == v1alpha1.RolloutPhaseHealthy {
		return "Nothing blocks it: there is nothing left to do."
	}
	return "Nothing blocks it: it moves on by itself."
}

func blocker(b *v1alpha1.Blocker, now time.Time, paint Painter) []string {
	head := paint(Warning, string(b.Code))
	if b.Since != nil {
		head += fmt.Sprintf(", since %s (%s)", stamp(b.Since.Time), duration.HumanDuration(now.Sub(b.Since.Time)))
	}
	if b.Until != nil {
		head += ", until " + stamp(b.Until.Time)
	}
	lines := []string{head, "  " + Printable(b.Message)}
	if len(b.Pods) > 0 {
		lines = append(lines, "  pods: "+strings.Join(b.Pods, ", "))
	}
	if b.Next != "" {
		lines = append(lines, "  next: "+Printable(b.Next))
	}
	return lines
}

// stamp is a time for people, to the second.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stampOf is the time of something that happened; - if it is not known.
func stampOf(t metav1.MicroTime) string {
	if t.IsZero() {
		return "-"
	}
	return stamp(t.Time)
}
