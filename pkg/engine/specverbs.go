// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// The verbs that change the spec. metadata.generation is for the caller to count: the status stays behind it
// until the controller has looked.

// Pause freezes a Rollout where it is, whether its last change was observed or not. The error is a *Refusal;
// r is not modified.
func Pause(r *rollouts.Rollout, now time.Time) (*Transition, error) {
	if r.Spec.Paused {
		return nil, refuse(ReasonAlreadyPaused, "spec.paused is set already")
	}
	out := withSpec(r, func(spec *rollouts.RolloutSpec) { spec.Paused = true })
	// The deadline does not count in a pause, nor is it exceeded there.
	if c := findCondition(&out.Status, rollouts.RolloutProgressing); c != nil && c.Reason == reasonDeadlineExceeded {
		setCondition(&out.Status, rollouts.RolloutProgressing, corev1.ConditionUnknown, reasonPaused, "Rollout is paused", now)
	}
	restate(out, now)
	return done(out, "paused"), nil
}

// Resume ends a Pause. A pause step is waited in as before. The error is a *Refusal; r is not modified.
func Resume(r *rollouts.Rollout, now time.Time) (*Transition, error) {
	if !r.Spec.Paused {
		message := "spec.paused is not set"
		if len(r.Status.PauseConditions) > 0 {
			message += "; the update waits in a pause step, which a promote ends"
		}
		return nil, refuse(ReasonNotPaused, "%s", message)
	}
	out := withSpec(r, func(spec *rollouts.RolloutSpec) { spec.Paused = false })
	restate(out, now)
	return done(out, "resumed"), nil
}

// Restart asks for the pods that were created before a time to be replaced; nil is now, rounded up to a
// whole second, so that a pod created in this very second is among them. The error is a *Refusal; r is not
// modified.
func Restart(r *rollouts.Rollout, at *metav1.Time, now time.Time) (*Transition, error) {
	when := secondAtOrAfter(now)
	if at != nil {
		when = at.Rfc3339Copy()
	}
	if asked := r.Spec.RestartAt; asked != nil && !asked.Before(&when) {
		return nil, refuse(ReasonAlreadyRestarting, "spec.restartAt is %s already", asked.UTC().Format(time.RFC3339))
	}
	out := withSpec(r, func(spec *rollouts.RolloutSpec) { spec.RestartAt = &when })
	return done(out, "restarts the pods that were created before %s", when.UTC().Format(time.RFC3339)), nil
}

// secondAtOrAfter is the first whole second at or after t: the creation of a pod is known no better.
func secondAtOrAfter(t time.Time) metav1.Time {
	floor := t.Truncate(time.Second)
	if floor.Before(t) {
		floor = floor.Add(time.Second)
	}
	return metav1.NewTime(floor)
}

// withSpec is r with a changed spec, and the status that this implies.
func withSpec(r *rollouts.Rollout, change func(*rollouts.RolloutSpec)) *rollouts.Rollout {
	changed := r.DeepCopy()
	change(&changed.Spec)
	return Edited(r, changed, nil, "")
}

// Undo puts the template of an earlier revision back: that of toRevision or, if that is 0, of the last one
// that was fully promoted before the current one. rss are the ReplicaSets of the namespace. Whoever asks is
// an author of the template from then on. The error is a *Refusal; r is not modified.
func Undo(r *rollouts.Rollout, rss []*appsv1.ReplicaSet, toRevision int64, who Actor, now time.Time) (*Transition, error) {
	switch {
	case !observed(r):
		return nil, notObserved()
	case held(r):
		return nil, refuseHeld()
	}
	target, err := undoTarget(r, rss, toRevision)
	if err != nil {
		return nil, err
	}
	template := TemplateOf(target)
	res := Resolve(r, template, rss)
	if res.Hash == r.Status.CurrentPodHash {
		return nil, refuse(ReasonAlreadyThere, "revision %d has the template of the current one", revisionOf(target))
	}
	changed := r.DeepCopy()
	changed.Spec.Template = *template
	needed := RightsToReturn(r, changed, &res)
	if len(needed) > 0 && !who.has(needed[0].Right) {
		return nil, &Forbidden{Reason: ReasonOverrideNeeded, Missing: &needed[0].Right,
			Message: needed[0].Field + ": " + needed[0].Message + "; to do without needs the right to " + needed[0].Right.String()}
	}
	out := Edited(r, changed, &res, who.Name)
	restate(out, now)
	t := done(out, "put the template of revision %d back, as revision %d", revisionOf(target), out.Status.Revision)
	if len(needed) > 0 {
		t.Outcome = rollouts.ActionOverridden
	}
	return t, nil
}

// undoTarget finds the ReplicaSet of the revision to go back to.
func undoTarget(r *rollouts.Rollout, rss []*appsv1.ReplicaSet, toRevision int64) (*appsv1.ReplicaSet, error) {
	var others []*appsv1.ReplicaSet
	for _, rs := range rss {
		owner := metav1.GetControllerOfNoCopy(rs)
		switch {
		case owner == nil || owner.UID != r.UID || rs.DeletionTimestamp != nil || hashOf(rs) == "":
		case hashOf(rs) == r.Status.CurrentPodHash:
			if toRevision == revisionOf(rs) || toRevision == r.Status.Revision {
				return nil, refuse(ReasonAlreadyThere, "revision %d is the current one", toRevision)
			}
		default:
			others = append(others, rs)
		}
	}
	slices.SortFunc(others, newestFirst)
	at := slices.IndexFunc(others, func(rs *appsv1.ReplicaSet) bool {
		if toRevision == 0 {
			return wasPromoted(r, rs)
		}
		return revisionOf(rs) == toRevision
	})
	if at >= 0 {
		return others[at], nil
	}
	if toRevision == 0 {
		return nil, refuse(ReasonNoSuchRevision, "no earlier revision that was fully promoted is left; %s", revisionsLeft(others))
	}
	return nil, refuse(ReasonNoSuchRevision, "no ReplicaSet of revision %d is left; %s", toRevision, revisionsLeft(others))
}

// wasPromoted is true if the newest revision of a ReplicaSet became stable.
func wasPromoted(r *rollouts.Rollout, rs *appsv1.ReplicaSet) bool {
	outcome := rs.Annotations[rollouts.OutcomeAnnotation]
	return outcome == rollouts.OutcomePromoted || outcome == "" && hashOf(rs) == r.Status.StableRS
}

// revisionsLeft says which revisions could be gone back to.
func revisionsLeft(others []*appsv1.ReplicaSet) string {
	if len(others) == 0 {
		return "there is none that could be gone back to"
	}
	names := make([]string, 0, len(others))
	for _, rs := range others {
		name := fmt.Sprint(revisionOf(rs))
		if rs.Annotations[rollouts.OutcomeAnnotation] == rollouts.OutcomeAborted {
			name += " (aborted)"
		}
		names = append(names, name)
	}
	return "there are: " + strings.Join(names, ", ")
}
