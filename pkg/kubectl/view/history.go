// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Revisions prints the revisions that a Rollout has ReplicaSets of, the oldest first: how each of them ended,
// when, by whom and why, and its images. ReplicaSets of others may be among them.
func Revisions(r *v1alpha1.Rollout, replicaSets []*appsv1.ReplicaSet) []string {
	rows := [][]cell{{text("REVISION"), text("OUTCOME"), text("WHEN"), text("BY"), text("REASON"), text("IMAGES")}}
	for _, rs := range owned(r, replicaSets) {
		row := append([]string{strconv.FormatInt(Revision(rs), 10)}, ending(r, rs)...)
		rows = append(rows, known(append(row, strings.Join(imagesOf(rs), ","))))
	}
	if len(rows) == 1 {
		return []string{"There are no revisions yet."}
	}
	return layout(rows, NoColour)
}

// Actions prints what was called on a Rollout, the oldest first. The server keeps the newest 20.
func Actions(r *v1alpha1.Rollout) []string {
	if len(r.Status.Actions) == 0 {
		return []string{"Nothing was called on it yet."}
	}
	rows := [][]cell{{text("WHEN"), text("VERB"), text("USER"), text("STEP"), text("REVISION"), text("OUTCOME"), text("REASON")}}
	for i := range r.Status.Actions {
		a := &r.Status.Actions[i]
		user := a.User
		if a.Impersonator != "" {
			user += " (impersonated by " + a.Impersonator + ")"
		}
		rows = append(rows, known([]string{
			stampOf(a.Time), a.Verb, user, stepsOf(a), strconv.FormatInt(a.Revision, 10), string(a.Outcome), a.Reason,
		}))
	}
	return layout(rows, NoColour)
}

// Revision is the number of the newest revision that a ReplicaSet has run; 0 if it does not say.
func Revision(rs *appsv1.ReplicaSet) int64 {
	number, err := strconv.ParseInt(rs.Annotations[rollouts.RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// owned are the ReplicaSets that the Rollout controls, the oldest revision first.
func owned(r *v1alpha1.Rollout, all []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var mine []*appsv1.ReplicaSet
	for _, rs := range all {
		if ref := metav1.GetControllerOfNoCopy(rs); ref != nil && ref.UID == r.UID {
			mine = append(mine, rs)
		}
	}
	slices.SortFunc(mine, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(Revision(a), Revision(b)), cmp.Compare(a.Name, b.Name))
	})
	return mine
}

// ending is how a revision ended, when, by whom and why; while it has not, only that. The annotations tell
// of the newest end, so those of a revision that is being tried again are passed over.
func ending(r *v1alpha1.Rollout, rs *appsv1.ReplicaSet) []string {
	hash, status, notes := rs.Labels[rollouts.PodTemplateHashLabel], &r.Status, rs.Annotations
	current, stable := hash != "" && hash == status.CurrentPodHash, hash != "" && hash == status.StableRS
	if current && !stable && !status.Abort {
		return []string{"in progress (current)", "", "", ""}
	}
	outcome := notes[rollouts.OutcomeAnnotation]
	switch {
	case current && stable:
		outcome = rollouts.OutcomePromoted + " (current)"
	case current:
		outcome = rollouts.OutcomeAborted + " (current)"
	case stable:
		outcome = rollouts.OutcomePromoted + " (stable)"
	}
	return []string{outcome, notes[rollouts.OutcomeTimeAnnotation], notes[rollouts.OutcomeUserAnnotation], notes[rollouts.OutcomeReasonAnnotation]}
}

func imagesOf(rs *appsv1.ReplicaSet) []string {
	var images []string
	for i := range rs.Spec.Template.Spec.Containers {
		images = append(images, rs.Spec.Template.Spec.Containers[i].Image)
	}
	return images
}

// stepsOf is the step that an action found, and the one that it led to if that is another.
func stepsOf(a *v1alpha1.RolloutAction) string {
	switch {
	case a.FromStep == nil && a.ToStep == nil:
		return ""
	case a.FromStep == nil:
		return fmt.Sprint(*a.ToStep)
	case a.ToStep == nil || *a.FromStep == *a.ToStep:
		return fmt.Sprint(*a.FromStep)
	}
	return fmt.Sprintf("%d->%d", *a.FromStep, *a.ToStep)
}

// known are the cells of a row, with - for what is not known.
func known(row []string) []cell {
	cells := make([]cell, 0, len(row))
	for _, value := range row {
		cells = append(cells, text(cmp.Or(value, "-")))
	}
	return cells
}
