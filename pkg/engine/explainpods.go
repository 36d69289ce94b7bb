// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
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

// namedPods is how many pods a blocker names.
const namedPods = 10

// startingReasons are those of a pod on its way: they pass by themselves, or another takes their place. When they last
// the deadline tells.
var startingReasons = []string{reasonMinReady, "ContainerCreating", "PodInitializing", string(corev1.PodPending)}

// reasonMinReady is why a pod that is ready is not available yet.
const reasonMinReady = "MinReadySeconds"

// ailing are pods of one ReplicaSet that are not available for the same reason.
type ailing struct {
	set             *appsv1.ReplicaSet
	reason, message string
	since           time.Time
	pods            []string
}

// ailingPods sorts the pods that exist and are not available by reason, the most frequent first; those that are only
// starting are apart.
func (e *explainer) ailingPods() (ailingPods, starting []*ailing) {
	pods := slices.Clone(e.observed.Pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var groups []*ailing
	for _, pod := range pods {
		rs := e.setOf(pod)
		if rs == nil || pod.DeletionTimestamp != nil || replaced(pod, rs) {
			continue
		}
		if reason, message, since := ailment(pod, e.rollout.Spec.MinReadySeconds, e.now); reason != "" {
			groups = gathered(groups, ailing{set: rs, reason: reason, message: message, since: since, pods: []string{pod.Name}})
		}
	}
	slices.SortStableFunc(groups, func(a, b *ailing) int {
		return cmp.Or(cmp.Compare(len(b.pods), len(a.pods)), cmp.Compare(a.reason, b.reason))
	})
	for _, g := range groups {
		if slices.Contains(startingReasons, g.reason) {
			starting = append(starting, g)
		} else {
			ailingPods = append(ailingPods, g)
		}
	}
	return ailingPods, starting
}

// replaced is true for a pod that has ended, as one that was evicted has, while its ReplicaSet has all pods that it
// should have: such a pod stays for a while to be looked at.
func replaced(pod *corev1.Pod, rs *appsv1.ReplicaSet) bool {
	ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	return ended && rs.Status.AvailableReplicas >= ptr.Deref(rs.Spec.Replicas, 1)
}

// gathered are the groups with one pod more.
func gathered(groups []*ailing, one ailing) []*ailing {
	for _, g := range groups {
		if g.set == one.set && g.reason == one.reason {
			g.pods = append(g.pods, one.pods...)
			if one.since.Before(g.since) {
				g.since = one.since
			}
			return groups
		}
	}
	return append(groups, &one)
}

// pods adds a blocker for each group.
func (e *explainer) pods(groups []*ailing) {
	for _, g := range groups {
		next := ""
		if !slices.Contains(startingReasons, g.reason) {
			next = e.wayBack(g.set)
		}
		b := e.add(rollouts.BlockerPodsNotAvailable, g.since, next, "%s of %s not available: %s%s", plural(len(g.pods), "pod"), e.revision(g.set), g.reason, because(g.message))
		b.Pods = g.pods[:min(len(g.pods), namedPods)]
		if g.reason == reasonMinReady {
			b.Until = ptr.To(metav1.NewMicroTime(g.since.Add(time.Duration(e.rollout.Spec.MinReadySeconds) * time.Second)))
		}
	}
}

// setOf is the Rollout's own ReplicaSet that controls a pod; nil if none does.
func (e *explainer) setOf(pod *corev1.Pod) *appsv1.ReplicaSet {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return nil
	}
	owned := e.owned()
	if i := slices.IndexFunc(owned, func(rs *appsv1.ReplicaSet) bool { return rs.UID == owner.UID }); i >= 0 {
		return owned[i]
	}
	return nil
}

// ailment is why a pod is not available, in one word as the kubelet or the scheduler has it, with what they
// say of it; empty if it is available.
func ailment(pod *corev1.Pod, minReadySeconds int32, now time.Time) (reason, message string, since time.Time) {
	since = pod.CreationTimestamp.Time
	if c := podCondition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		if availableAt := c.LastTransitionTime.Add(time.Duration(minReadySeconds) * time.Second); now.Before(availableAt) {
			return reasonMinReady, fmt.Sprintf("ready, but not yet for %d s", minReadySeconds), c.LastTransitionTime.Time
		}
		return "", "", time.Time{}
	}
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return cmp.Or(c.Reason, "Unschedulable"), c.Message, since
	}
	if reason, message := containerAilment(pod); reason != "" {
		return reason, message, since
	}
	if pod.Status.Reason != "" {
		return pod.Status.Reason, pod.Status.Message, since
	}
	if c := podCondition(pod, corev1.PodReady); c != nil && pod.Status.Phase == corev1.PodRunning {
		return "NotReady", strings.TrimPrefix(c.Message+restarts(pod), "; "), c.LastTransitionTime.Time
	}
	return cmp.Or(string(pod.Status.Phase), string(corev1.PodPending)), "", since
}

// containerAilment is what is wrong with the first container that something is wrong with, or else that is starting.
func containerAilment(pod *corev1.Pod) (reason, message string) {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			is, why := stateAilment(&statuses[i])
			switch {
			case is == "" || slices.Contains(startingReasons, is) && reason != "":
				continue
			case !slices.Contains(startingReasons, is):
				return is, why
			}
			reason, message = is, why
		}
	}
	if c := podCondition(pod, corev1.PodInitialized); reason == "PodInitializing" && c != nil && c.Status == corev1.ConditionFalse {
		message = c.Message // It names the containers that are waited for.
	}
	return reason, message
}

// stateAilment is what is wrong with a container; empty if nothing is.
func stateAilment(s *corev1.ContainerStatus) (reason, message string) {
	switch state := s.State; {
	case state.Waiting != nil && state.Waiting.Reason != "":
		return state.Waiting.Reason, "container " + s.Name + because(state.Waiting.Message) + lastEnd(s)
	case state.Terminated != nil && state.Terminated.ExitCode != 0:
		return cmp.Or(state.Terminated.Reason, "Error"), "container " + s.Name + " ended with " + ending(state.Terminated)
	default:
		return "", ""
	}
}

// restarts tells of the containers that run again after they had ended, as one does that is killed when it fails its
// probe; empty if there are none.
func restarts(pod *corev1.Pod) string {
	var told strings.Builder
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; lastEnd(s) != "" {
			told.WriteString("; container " + s.Name + strings.TrimPrefix(lastEnd(s), ";"))
		}
	}
	return told.String()
}

// lastEnd is how a container that was restarted ended before; empty if it was not.
func lastEnd(s *corev1.ContainerStatus) string {
	if last := s.LastTerminationState.Terminated; last != nil && s.RestartCount > 0 {
		return fmt.Sprintf("; restarted %s, ended last with %s", plural(int(s.RestartCount), "time"), ending(last))
	}
	return ""
}

// lastWords is how much of what a container left is told. Unit: bytes.
const lastWords = 200

// ending is how a container ended, with the end of what it left.
func ending(t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("exit code %d", t.ExitCode)
	if t.Reason != "" {
		text += " (" + t.Reason + ")"
	}
	left := strings.Join(strings.Fields(t.Message), " ")
	if len(left) > lastWords {
		left = "..." + strings.ToValidUTF8(left[len(left)-lastWords:], "")
	}
	return text + because(left)
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
