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

const (
	// defaultRequiredApprovals is for an approval that was stored without a number.
	defaultRequiredApprovals int32 = 1
	// maxAuthors is how many authors of a template are named.
	maxAuthors = 50
	// unnamedAuthors stands, in front of those that are named, for authors that are not.
	unnamedAuthors = "*"
	// namedInText is how many users a text for people names.
	namedInText = 5
	// eventApprovalExpired tells that an approval does not count any more.
	eventApprovalExpired = "RolloutApprovalExpired"
)

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
		author := excludesAuthors(a) && mayBeAuthor(&r.Status, given.User)
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
	case excludesAuthors(a) && !authorsKnown(&r.Status):
		return authorUnknown(step, who)
	case excludesAuthors(a) && mayBeAuthor(&r.Status, who.Name):
		return &Forbidden{Reason: ReasonAuthorMayNotApprove,
			Message: fmt.Sprintf("%s asks for the approval of somebody else: user %q has changed the template since the last stable revision", step, who.Name)}
	case slices.ContainsFunc(valid(r, a, now), func(given rollouts.RolloutApproval) bool { return given.User == who.Name }):
		return refuse(ReasonAlreadyApproved, "user %q has approved %s already; %s", who.Name, step, stillNeeded(r, a, now))
	default:
		return nil
	}
}

// authorUnknown refuses everybody, since anybody may be an author. Whoever has the right to override has to
// say so: else an approval would be skipped by somebody who meant to give one.
func authorUnknown(step string, who Actor) *Forbidden {
	message := step + " asks for the approval of somebody who has not changed the template, and who has is not known: "
	if who.has(RightOverride) {
		return &Forbidden{Reason: ReasonAuthorUnknown, Message: message + "promote with override set"}
	}
	return &Forbidden{Reason: ReasonAuthorUnknown, Missing: ptr.To(RightOverride), Message: message + "override needs the right to " + RightOverride.String()}
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

// expireApprovals takes out the approvals that do not count any more, and asks to be called when the next one
// will not. So an approval that has expired never counts again, whatever the clock does.
func (d *decider) expireApprovals(a *rollouts.PauseApproval) {
	r := d.rollout
	counted := valid(r, a, d.now)
	for _, given := range r.Status.Approvals {
		if bound(r, given) && expired(a, given, d.now) {
			d.event(true, eventApprovalExpired, "The approval of step %d/%d by user %q has expired", given.StepIndex, len(steps(r)), given.User)
		}
	}
	r.Status.Approvals = counted
	for _, given := range counted {
		if end, ends := expiry(a, given); ends {
			d.requeueIn(end.Sub(d.now))
		}
	}
}

// pauseMessage says what a pause waits for. Of an approval it says who is still needed, by what the controller
// left of those that were given.
func pauseMessage(r *rollouts.Rollout) string {
	reason := string(r.Status.PauseConditions[0].Reason)
	if a := approvalNow(r); a != nil {
		return reason + ": asks for approval: " + stillNeeded(r, a, time.Time{})
	}
	return reason
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
		text += " (by " + someOf(users) + ")"
	}
	missing := max(required(a)-len(counted), 0)
	text += fmt.Sprintf(", %d more needed", missing)
	if len(a.Groups) > 0 {
		text += " from members of " + anyOf(a.Groups)
	}
	switch {
	case !excludesAuthors(a):
	case authorsKnown(&r.Status):
		text += ", not from the authors of the template: " + someOf(r.Status.TemplateAuthors)
	default:
		text += ", not from the authors of the template, who are not known: only an override ends this step"
	}
	return text
}

func anyOf(groups []string) string { return strings.Join(groups, " or ") }

// someOf names the newest of users, and says how many more there are.
func someOf(users []string) string {
	if more := len(users) - namedInText; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(users[more:], ", "), more)
	}
	return strings.Join(users, ", ")
}

// voidApprovals takes back what was approved, since it is no more what would be promoted.
func voidApprovals(st *rollouts.RolloutStatus) { st.Approvals = nil }

// addAuthor names a user among those that changed the template; the newest is last. Who is not known, and
// whoever is one too many, is not forgotten: it then is not known any more who is no author.
func addAuthor(st *rollouts.RolloutStatus, author string) {
	unnamed := author == "" || len(st.TemplateAuthors) > 0 && st.TemplateAuthors[0] == unnamedAuthors
	var named []string
	for _, known := range append(slices.Clone(st.TemplateAuthors), author) {
		if known != "" && known != unnamedAuthors {
			named = append(slices.DeleteFunc(named, func(n string) bool { return n == known }), known)
		}
	}
	if surplus := len(named) - maxAuthors; surplus > 0 {
		named, unnamed = named[surplus:], true
	}
	if unnamed {
		named = append([]string{unnamedAuthors}, named...)
	}
	st.TemplateAuthors = named
}

// authorsKnown is true if everybody who changed the template is named.
func authorsKnown(st *rollouts.RolloutStatus) bool {
	return len(st.TemplateAuthors) > 0 && st.TemplateAuthors[0] != unnamedAuthors
}

// mayBeAuthor is true unless it is known that a user has not changed the template.
func mayBeAuthor(st *rollouts.RolloutStatus, user string) bool {
	return !authorsKnown(st) || slices.Contains(st.TemplateAuthors, user)
}

// newestAuthor is who changed the template last; empty if that is not known.
func newestAuthor(st *rollouts.RolloutStatus) string {
	if n := len(st.TemplateAuthors); n > 0 && st.TemplateAuthors[n-1] != unnamedAuthors {
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
