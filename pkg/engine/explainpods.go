// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// namedPods is how many pods a blocker names.
const namedPods = 10

// pods is about pods that exist and are not available, one blocker for each reason, the most frequent first.
func (e *explainer) pods() {
	groups := map[string]*ailing{}
	for _, pod := range e.observed.Pods {
		if pod.DeletionTimestamp != nil || !e.controls(pod) {
			continue
		}
		reason, message, since := ailment(pod, e.rollout.Spec.MinReadySeconds, e.now)
		if reason == "" {
			continue
		}
		if groups[reason] == nil {
			groups[reason] = &ailing{reason: reason, message: message, since: since}
		}
		groups[reason].add(pod.Name, since)
	}
	sorted := make([]*ailing, 0, len(groups))
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *ailing) int {
		return cmp.Or(cmp.Compare(len(b.pods), len(a.pods)), cmp.Compare(a.reason, b.reason))
	})
	for _, g := range sorted {
		slices.Sort(g.pods)
		next := ""
		if updateInFlight(e.rollout) && !e.rollout.Status.Abort {
			next = e.command("abort")
		}
		b := e.add(rollouts.BlockerPodsNotAvailable, g.since, next, "%s not available: %s%s", plural(len(g.pods), "pod"), g.reason, because(g.message))
		b.Pods = g.pods[:min(len(g.pods), namedPods)]
	}
}

// ailing are pods that are not available for the same reason.
type ailing struct {
	reason, message string
	since           time.Time
	pods            []string
}

func (a *ailing) add(name string, since time.Time) {
	a.pods = append(a.pods, name)
	if since.Before(a.since) {
		a.since = since
	}
}

// controls is true for the pods of the Rollout's own ReplicaSets.
func (e *explainer) controls(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return false
	}
	for _, rs := range e.owned() {
		if rs.UID == owner.UID {
			return true
		}
	}
	return false
}

// ailment is why a pod is not available, in one word as the kubelet or the scheduler has it, with what they
// say of it; empty if it is available.
func ailment(pod *corev1.Pod, minReadySeconds int32, now time.Time) (reason, message string, since time.Time) {
	since = pod.CreationTimestamp.Time
	if c := podCondition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		if availableAt := c.LastTransitionTime.Add(time.Duration(minReadySeconds) * time.Second); now.Before(availableAt) {
			return "MinReadySeconds", fmt.Sprintf("ready, but not yet for %d s", minReadySeconds), c.LastTransitionTime.Time
		}
		return "", "", time.Time{}
	}
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return cmp.Or(c.Reason, "Unschedulable"), c.Message, since
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			switch state := statuses[i].State; {
			case state.Waiting != nil && state.Waiting.Reason != "":
				return state.Waiting.Reason, state.Waiting.Message, since
			case state.Terminated != nil && state.Terminated.ExitCode != 0:
				return cmp.Or(state.Terminated.Reason, "Error"), strings.TrimSpace(fmt.Sprintf("container %s ended with exit code %d. %s", statuses[i].Name, state.Terminated.ExitCode, state.Terminated.Message)), since
			}
		}
	}
	if pod.Status.Reason != "" {
		return pod.Status.Reason, pod.Status.Message, since
	}
	if c := podCondition(pod, corev1.PodReady); c != nil && pod.Status.Phase == corev1.PodRunning {
		return "NotReady", c.Message, c.LastTransitionTime.Time
	}
	return cmp.Or(string(pod.Status.Phase), string(corev1.PodPending)), "", since
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
