// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strconv"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: the API design, "Verbs are subresources" (expect, requestID, status.actions).

// keptActions is how many actions a Rollout remembers.
const keptActions = 20

// Mismatch is an expectation that does not hold.
type Mismatch struct {
	// Field is its path in the body.
	Field string
	// Message says what is, and what was expected.
	Message string
}

// Unmet are the expectations of a caller that do not hold; nil if all do.
func Unmet(r *rollouts.Rollout, e *rollouts.VerbExpectation) []Mismatch {
	var unmet []Mismatch
	miss := func(field, what, is, expected string) {
		unmet = append(unmet, Mismatch{Field: "expect." + field, Message: fmt.Sprintf("the %s is %s, not %s", what, is, expected)})
	}
	if e.Revision != nil && *e.Revision != r.Status.Revision {
		miss("revision", "revision", strconv.FormatInt(r.Status.Revision, 10), strconv.FormatInt(*e.Revision, 10))
	}
	if e.PodHash != "" && e.PodHash != r.Status.CurrentPodHash {
		miss("podHash", "pod hash", r.Status.CurrentPodHash, e.PodHash)
	}
	if e.StepIndex != nil && !ptr.Equal(e.StepIndex, r.Status.CurrentStepIndex) {
		miss("stepIndex", "step", indexOrNone(r.Status.CurrentStepIndex), indexOrNone(e.StepIndex))
	}
	if e.UID != "" && e.UID != r.UID {
		miss("uid", "uid", string(r.UID), string(e.UID))
	}
	if e.ResourceVersion != "" && e.ResourceVersion != r.ResourceVersion {
		miss("resourceVersion", "resourceVersion", r.ResourceVersion, e.ResourceVersion)
	}
	return unmet
}

func indexOrNone(index *int32) string {
	if index == nil {
		return "none"
	}
	return strconv.Itoa(int(*index))
}

// Repeated finds the action that was recorded of a call with the same ID: nil if there is none. The error is
// a *Refusal if the ID was used for another call.
func Repeated(r *rollouts.Rollout, verb, user, requestID, bodyDigest string) (*rollouts.RolloutAction, error) {
	if requestID == "" {
		return nil, nil
	}
	for i := range r.Status.Actions {
		a := &r.Status.Actions[i]
		if a.RequestID != requestID {
			continue
		}
		if a.Verb != verb || a.User != user || a.BodyDigest != bodyDigest {
			return nil, refuse(ReasonRequestIDReused, "requestID %q was used for another call: %s by user %q at %s; use a new one", requestID, a.Verb, a.User, a.Time.UTC().Format("2006-01-02T15:04:05Z"))
		}
		return a.DeepCopy(), nil
	}
	return nil, nil
}

// Record is the Rollout that a transition led to, with the action that tells of it: a has who, when and why,
// and is completed with what came about.
func Record(before *rollouts.Rollout, t *Transition, a rollouts.RolloutAction) *rollouts.Rollout {
	out := t.Rollout.DeepCopy()
	st := &out.Status
	a.Outcome, a.Message = t.Outcome, t.Message
	a.FromStep, a.ToStep = copied(before.Status.CurrentStepIndex), copied(st.CurrentStepIndex)
	a.Revision, a.PodHash, a.Phase = st.Revision, st.CurrentPodHash, st.Phase
	st.Actions = append(st.Actions, a)
	if surplus := len(st.Actions) - keptActions; surplus > 0 {
		st.Actions = append([]rollouts.RolloutAction(nil), st.Actions[surplus:]...)
	}
	return out
}

func copied(index *int32) *int32 {
	if index == nil {
		return nil
	}
	return ptr.To(*index)
}
