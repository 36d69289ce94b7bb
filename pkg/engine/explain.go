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
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: the API design ("explain"), and peers 2.2 ("Why is it stuck").

// ControllerState says whether any controller acts on Rollouts.
type ControllerState struct {
	// Acting is true if one does.
	Acting bool
	// Since is when the last one was seen, if none does; zero if that is not known.
	Since time.Time
	// Message says what is known of it, if none does.
	Message string
}

// Explain says what keeps a Rollout from going on: what to look at first is in front. nil if nothing does. What is
// wrong with pods comes before what people have decided: the way out is not to promote, resume or retry them.
func Explain(s Snapshot, controller ControllerState) []rollouts.Blocker {
	e := &explainer{decider: newDecider(s)}
	if s.Rollout.DeletionTimestamp != nil {
		e.beingDeleted()
		return e.blockers
	}
	if !controller.Acting {
		e.add(rollouts.BlockerControllerStopped, controller.Since, "",
			"no controller acts on rollouts: %s; pods stay as they are until a replica of the server leads: look at its pods and logs in that namespace", controller.Message)
	}
	if c := findCondition(&s.Rollout.Status, rollouts.RolloutHeld); c != nil {
		e.add(rollouts.BlockerHeld, c.LastTransitionTime.Time, e.command("detach"), "%s", c.Message)
		return e.blockers
	}
	e.notObserved()
	e.refused()
	e.services()
	ailing, starting := e.ailingPods()
	e.pods(ailing)
	e.leavingSet()
	e.eviction()
	e.deadline()
	e.aborted()
	e.manuallyPaused()
	e.step()
	e.pods(starting)
	return e.blockers
}

type explainer struct {
	*decider
	blockers []rollouts.Blocker
}

func (e *explainer) add(code rollouts.BlockerCode, since time.Time, next, format string, args ...any) *rollouts.Blocker {
	b := rollouts.Blocker{Code: code, Message: fmt.Sprintf(format, args...), Next: next}
	if !since.IsZero() {
		b.Since = ptr.To(metav1.NewMicroTime(since))
	}
	e.blockers = append(e.blockers, b)
	return &e.blockers[len(e.blockers)-1]
}

// command is a call of the plugin for this Rollout.
func (e *explainer) command(verb string) string {
	return fmt.Sprintf("kubectl sluice %s %s -n %s", verb, e.rollout.Name, e.rollout.Namespace)
}

// wayBack is the call that ends an update whose pods cannot run; empty if they are not those of one.
func (e *explainer) wayBack(rs *appsv1.ReplicaSet) string {
	if rs == nil || rs != e.current || !updateInFlight(e.rollout) || e.rollout.Status.Abort {
		return ""
	}
	return e.command("abort")
}

// revision is how people call the revision of a ReplicaSet.
func (e *explainer) revision(rs *appsv1.ReplicaSet) string {
	name := fmt.Sprintf("revision %d", revisionOf(rs))
	if rs == e.stable {
		name += " (stable)"
	}
	return name
}

func (e *explainer) beingDeleted() {
	message := "the rollout is being deleted; its pods go with it unless they are orphaned"
	if f := e.rollout.Finalizers; len(f) > 0 {
		message += "; it stays until its finalizers are gone: " + strings.Join(f, ", ")
	}
	e.add(rollouts.BlockerBeingDeleted, e.rollout.DeletionTimestamp.Time, "", "%s", message)
}

func (e *explainer) notObserved() {
	if !observed(e.rollout) {
		e.add(rollouts.BlockerNotObserved, time.Time{}, "",
			"the controller has not taken up the last change of the spec yet: generation %d, observed %d; that takes it a moment, or the log of the server says why not",
			e.rollout.Generation, e.rollout.Status.ObservedGeneration)
	}
}

func (e *explainer) aborted() {
	st := &e.rollout.Status
	if !st.Abort {
		return
	}
	var since time.Time
	if st.AbortedAt != nil {
		since = st.AbortedAt.Time
	}
	message := strings.TrimSuffix(abortMessage(st), ".")
	// An abort for the deadline is nobody's, though somebody may have aborted the same revision before.
	if a := newestActionOn(st, "abort", st.Revision); a != nil && !a.Time.Time.Before(since.Truncate(time.Second)) {
		message += ", by user " + a.User + because(a.Reason)
	}
	if updateInFlight(e.rollout) && e.stable == nil {
		e.add(rollouts.BlockerAborted, since, e.command("retry"), "%s; the ReplicaSet of the stable revision is gone, so there is nothing to go back to: retry it, or change the template", message)
		return
	}
	e.add(rollouts.BlockerAborted, since, e.command("retry"), "%s; retry it, undo it, or change the template", message)
}

func (e *explainer) manuallyPaused() {
	if !e.rollout.Spec.Paused {
		return
	}
	message, since := "spec.paused is set", time.Time{}
	switch a := newestPause(&e.rollout.Status); {
	case a != nil:
		message, since = message+", by user "+a.User+because(a.Reason), a.Time.Time
	case len(e.rollout.Status.PauseConditions) == 0:
		// It was set by an edit. Had the update waited in a step before, the condition would tell of that.
		if c := findCondition(&e.rollout.Status, rollouts.RolloutPaused); c != nil && c.Status == corev1.ConditionTrue {
			since = c.LastTransitionTime.Time
		}
	}
	e.add(rollouts.BlockerManuallyPaused, since, e.command("resume"), "%s; nothing moves until it is resumed", message)
}

// newestPause is who paused by hand; nil if that was ended since, or not done by the verb.
func newestPause(st *rollouts.RolloutStatus) *rollouts.RolloutAction {
	pause, resume := newestAction(st, "pause"), newestAction(st, "resume")
	if pause == nil || resume != nil && pause.Time.Before(&resume.Time) {
		return nil
	}
	return pause
}

// step is about the pause that the update waits in.
func (e *explainer) step() {
	r, st := e.rollout, &e.rollout.Status
	if st.Abort || st.PromoteFull || !updateInFlight(r) {
		return
	}
	if blueGreen(r) != nil {
		e.beforeSwitch()
		return
	}
	if stepsDone(r) {
		return
	}
	pause := steps(r)[stepIndex(r)].Pause
	if pause == nil || len(st.PauseConditions) == 0 {
		return
	}
	since := st.PauseConditions[0].StartTime.Time
	at := fmt.Sprintf("step %d/%d", stepIndex(r), len(steps(r)))
	length, timed := pauseLength(pause)
	switch {
	case pause.Approval != nil:
		b := e.add(rollouts.BlockerApprovalMissing, since, e.command("promote"), "%s asks for approval: %s", at, stillNeeded(r, pause.Approval, e.now))
		if end, ends := nextExpiry(r, pause.Approval, e.now); ends {
			b.Message += fmt.Sprintf("; the first of them expires at %s", end.UTC().Format(time.RFC3339))
		}
	case timed:
		end := since.Add(length)
		b := e.add(rollouts.BlockerTimedPause, since, e.command("promote"), "%s is a pause of %s, of which %s are left; promote to end it now", at, length, max(end.Sub(e.now), 0).Round(time.Second))
		b.Until = ptr.To(metav1.NewMicroTime(end))
	default:
		e.add(rollouts.BlockerPaused, since, e.command("promote"), "%s is a pause without an end: it waits until somebody promotes", at)
	}
}

// beforeSwitch is about the pause of blueGreen.
func (e *explainer) beforeSwitch() {
	r, st := e.rollout, &e.rollout.Status
	if len(st.PauseConditions) == 0 {
		return
	}
	since := st.PauseConditions[0].StartTime.Time
	what := fmt.Sprintf("the pods of revision %d are available, and Service %s still leads to the stable revision", st.Revision, blueGreen(r).ActiveService)
	length, timed := promotionWait(blueGreen(r))
	if !timed {
		e.add(rollouts.BlockerPaused, since, e.command("promote"), "%s: it is switched when somebody promotes", what)
		return
	}
	end := since.Add(length)
	b := e.add(rollouts.BlockerTimedPause, since, e.command("promote"), "%s: it is switched in %s; promote to switch it now", what, max(end.Sub(e.now), 0).Round(time.Second))
	b.Until = ptr.To(metav1.NewMicroTime(end))
}

// nextExpiry is when the next of the approvals that count will not any more.
func nextExpiry(r *rollouts.Rollout, a *rollouts.PauseApproval, now time.Time) (first time.Time, ends bool) {
	for _, given := range valid(r, a, now) {
		if end, does := expiry(a, given); does && (!ends || end.Before(first)) {
			first, ends = end, true
		}
	}
	return first, ends
}

func (e *explainer) deadline() {
	c := findCondition(&e.rollout.Status, rollouts.RolloutProgressing)
	if c == nil || c.Reason != reasonDeadlineExceeded {
		return
	}
	next := ""
	if updateInFlight(e.rollout) {
		next = e.command("abort")
	}
	e.add(rollouts.BlockerDeadlineExceeded, c.LastTransitionTime.Time, next, "there was no progress for %s: %s", progressDeadline(e.rollout), c.Message)
}

// refused is about pods and ReplicaSets that the cluster does not let be created: by what the ReplicaSets say now,
// the stable one included, and by what the Rollout says of the controller's own writes.
func (e *explainer) refused() {
	var reasons []string
	for _, rs := range e.owned() {
		i := slices.IndexFunc(rs.Status.Conditions, func(c appsv1.ReplicaSetCondition) bool {
			return c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue
		})
		if i < 0 {
			continue
		}
		c, what := rs.Status.Conditions[i], "create"
		if c.Reason == "FailedDelete" {
			what = "delete"
		}
		reasons = append(reasons, c.Reason)
		e.add(rollouts.BlockerPodsRefused, c.LastTransitionTime.Time, e.wayBack(rs), "the cluster refuses to %s pods of %s, of which there are %d of %d: %s; it is tried again by itself, after ever longer pauses",
			what, e.revision(rs), rs.Status.Replicas, ptr.Deref(rs.Spec.Replicas, 1), c.Message)
	}
	if c := findCondition(&e.rollout.Status, rollouts.RolloutReplicaFailure); c != nil && c.Status == corev1.ConditionTrue && !slices.Contains(reasons, c.Reason) {
		next := ""
		if updateInFlight(e.rollout) && !e.rollout.Status.Abort {
			next = e.command("abort")
		}
		e.add(rollouts.BlockerPodsRefused, c.LastTransitionTime.Time, next, "the cluster refuses a write of the controller: %s; it is tried again every few seconds", c.Message)
	}
}

// leavingSet is about a ReplicaSet of the current revision that is on its way out: its name is taken until it is gone.
func (e *explainer) leavingSet() {
	if e.current != nil || !e.currentIsLeaving() {
		return
	}
	for _, rs := range e.leaving {
		if hashOf(rs) == e.rollout.Status.CurrentPodHash {
			e.add(rollouts.BlockerPodsNotAvailable, rs.DeletionTimestamp.Time, "", "ReplicaSet %s of the current revision is being deleted, and another can be made only when it is gone; its finalizers: %s",
				rs.Name, strings.Join(rs.Finalizers, ", "))
		}
	}
}

// eviction is about a restart that waits.
func (e *explainer) eviction() {
	message, since := e.observed.EvictionRefused, time.Time{}
	if c := findCondition(&e.rollout.Status, rollouts.RolloutRestarting); c != nil && c.Reason == reasonEvictionRefused {
		since = c.LastTransitionTime.Time
		message = c.Message
	}
	if message != "" {
		e.add(rollouts.BlockerEvictionRefused, since, "", "the restart waits to evict pods, and tries again every %s: %s", EvictAgainAfter, message)
	}
}

func newestAction(st *rollouts.RolloutStatus, verb string) *rollouts.RolloutAction {
	for i := len(st.Actions) - 1; i >= 0; i-- {
		if st.Actions[i].Verb == verb {
			return &st.Actions[i]
		}
	}
	return nil
}

// newestActionOn is the newest of a verb that was called on a revision.
func newestActionOn(st *rollouts.RolloutStatus, verb string, revision int64) *rollouts.RolloutAction {
	if a := newestAction(st, verb); a != nil && a.Revision == revision {
		return a
	}
	return nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
