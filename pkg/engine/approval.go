// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: the API design, "Approvals", and peers 4.2 (an approval binds to a revision and a step, not to
// the name of an object).

// defaultRequiredApprovals is for an approval that was stored without a number.
const defaultRequiredApprovals int32 = 1

// approvalOf is the approval that a step asks for; nil if it asks for none.
func approvalOf(s rollouts.CanaryStep) *rollouts.PauseApproval {
	if s.Pause == nil {
		return nil
	}
	return s.Pause.Approval
}

// approvalNow is the approval that the update waits for at its current step; nil if there is none.
func approvalNow(r *rollouts.Rollout) *rollouts.PauseApproval {
	if stepsDone(r) {
		return nil
	}
	return approvalOf(steps(r)[stepIndex(r)])
}

// approvalAhead is true if a step that asks for approval is at or after the current one.
func approvalAhead(r *rollouts.Rollout) bool {
	return slices.ContainsFunc(steps(r)[stepIndex(r):], func(s rollouts.CanaryStep) bool { return approvalOf(s) != nil })
}

func required(a *rollouts.PauseApproval) int {
	return int(ptr.Deref(a.Required, defaultRequiredApprovals))
}

// excludesAuthors is true unless the approval says otherwise.
func excludesAuthors(a *rollouts.PauseApproval) bool { return ptr.Deref(a.NotAuthor, true) }

// valid are the approvals that count at the current step: given for this revision, this step of these steps,
// not expired, by different users, and by nobody who has become an author since.
func valid(r *rollouts.Rollout, a *rollouts.PauseApproval, now time.Time) []rollouts.RolloutApproval {
	var counted []rollouts.RolloutApproval
	for _, given := range r.Status.Approvals {
		again := slices.ContainsFunc(counted, func(c rollouts.RolloutApproval) bool { return c.User == given.User })
		author := excludesAuthors(a) && slices.Contains(r.Status.TemplateAuthors, given.User)
		if bound(r, given) && !expired(a, given, now) && !again && !author {
			counted = append(counted, given)
		}
	}
	return counted
}

// bound is true if an approval was given for what the update is at now.
func bound(r *rollouts.Rollout, given rollouts.RolloutApproval) bool {
	return given.Revision == r.Status.Revision && given.StepIndex == stepIndex(r) && given.StepHash == stepHash(steps(r))
}

func expired(a *rollouts.PauseApproval, given rollouts.RolloutApproval, now time.Time) bool {
	end, ends := expiry(a, given)
	return ends && !now.Before(end)
}

// expiry is when an approval ceases to count; false if it does not. A duration that cannot be read, which
// validation never lets through, ends it at once: an approval too few can be given again.
func expiry(a *rollouts.PauseApproval, given rollouts.RolloutApproval) (time.Time, bool) {
	if a.ExpireAfter == nil {
		return time.Time{}, false
	}
	length, err := PauseDuration(a.ExpireAfter)
	if err != nil {
		length = 0
	}
	return given.Time.Add(length), true
}

// mayApprove refuses whoever does not count at the current step.
func mayApprove(r *rollouts.Rollout, a *rollouts.PauseApproval, who Actor, now time.Time) error {
	step := fmt.Sprintf("step %d/%d", stepIndex(r), len(steps(r)))
	switch {
	case len(a.Groups) > 0 && !slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(who.Groups, g) }):
		return &Forbidden{Reason: ReasonNotInGroups,
			Message: fmt.Sprintf("%s asks for the approval of members of %s, and user %q is in none of them", step, anyOf(a.Groups), who.Name)}
	case excludesAuthors(a) && len(r.Status.TemplateAuthors) == 0:
		return &Forbidden{Reason: ReasonAuthorUnknown, Missing: ptr.To(RightOverride),
			Message: fmt.Sprintf("%s asks for the approval of somebody who has not changed the template, and who has is not known: override needs the right to %s", step, RightOverride)}
	case excludesAuthors(a) && slices.Contains(r.Status.TemplateAuthors, who.Name):
		return &Forbidden{Reason: ReasonAuthorMayNotApprove,
			Message: fmt.Sprintf("%s asks for the approval of somebody else: user %q has changed the template since the last stable revision", step, who.Name)}
	case slices.ContainsFunc(valid(r, a, now), func(given rollouts.RolloutApproval) bool { return given.User == who.Name }):
		return refuse(ReasonAlreadyApproved, "user %q has approved %s already; %s", who.Name, step, stillNeeded(r, a, now))
	default:
		return nil
	}
}

// approve adds an approval to r, and says whether that makes enough of them.
func approve(r *rollouts.Rollout, a *rollouts.PauseApproval, who Actor, now time.Time) bool {
	counted := valid(r, a, now)
	r.Status.Approvals = append(counted, rollouts.RolloutApproval{
		User:      who.Name,
		Revision:  r.Status.Revision,
		StepIndex: stepIndex(r),
		StepHash:  stepHash(steps(r)),
		Time:      microAtOrAfter(now),
	})
	return len(r.Status.Approvals) >= required(a)
}

// stillNeeded says what an approval step waits for, for people.
func stillNeeded(r *rollouts.Rollout, a *rollouts.PauseApproval, now time.Time) string {
	counted := valid(r, a, now)
	text := fmt.Sprintf("%d of %d given", len(counted), required(a))
	if len(counted) > 0 {
		users := make([]string, 0, len(counted))
		for _, given := range counted {
			users = append(users, given.User)
		}
		text += " (by " + strings.Join(users, ", ") + ")"
	}
	missing := max(required(a)-len(counted), 0)
	text += fmt.Sprintf(", %d more needed", missing)
	if len(a.Groups) > 0 {
		text += " from members of " + anyOf(a.Groups)
	}
	if excludesAuthors(a) && len(r.Status.TemplateAuthors) > 0 {
		text += ", not from the authors of the template: " + strings.Join(r.Status.TemplateAuthors, ", ")
	}
	return text
}

func anyOf(groups []string) string { return strings.Join(groups, " or ") }

// voidApprovals takes back what was approved, since it is no more what would be promoted.
func voidApprovals(st *rollouts.RolloutStatus) { st.Approvals = nil }

// addAuthor names a user among those that changed the template; the newest is last.
func addAuthor(st *rollouts.RolloutStatus, author string) {
	if author == "" {
		return
	}
	st.TemplateAuthors = append(slices.DeleteFunc(st.TemplateAuthors, func(a string) bool { return a == author }), author)
}

// newestAuthor is who changed the template last; empty if that is not known.
func newestAuthor(st *rollouts.RolloutStatus) string {
	if n := len(st.TemplateAuthors); n > 0 {
		return st.TemplateAuthors[n-1]
	}
	return ""
}

// noteAuthor adds who went back to the template of a ReplicaSet, if that is another than wrote it.
func (d *decider) noteAuthor(rs *appsv1.ReplicaSet, notes map[string]string) {
	if author := newestAuthor(&d.rollout.Status); author != "" && rs.Annotations[rollouts.AuthorAnnotation] != author {
		notes[rollouts.AuthorAnnotation] = author
	}
}
