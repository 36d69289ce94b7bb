// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// podSummary is what kubectl get pods says of a pod: the same words for the same states.
type podSummary struct {
	reason   string
	ready    int32
	total    int32
	restarts int32
}

// summarise follows the printer of kubectl get pods.
func summarise(pod *corev1.Pod) podSummary {
	p := podSummary{reason: string(pod.Status.Phase), total: int32(len(pod.Spec.Containers))}
	if pod.Status.Reason != "" {
		p.reason = pod.Status.Reason
	}
	if scheduled := condition(pod, corev1.PodScheduled); scheduled != nil && scheduled.Reason == corev1.PodReasonSchedulingGated {
		p.reason = corev1.PodReasonSchedulingGated
	}
	initializing := p.addInit(pod)
	initialized := condition(pod, corev1.PodInitialized)
	if !initializing || initialized != nil && initialized.Status == corev1.ConditionTrue {
		p.addMain(pod)
	}
	terminal := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case pod.DeletionTimestamp == nil:
	case pod.Status.Reason == "NodeLost":
		p.reason = "Unknown"
	case !terminal:
		p.reason = "Terminating"
	}
	return p
}

// addInit goes through the init containers until the first that is not done. It reports whether there is
// one, in which case the reason is that one's.
func (p *podSummary) addInit(pod *corev1.Pod) bool {
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			p.total++
		}
	}
	for i := range pod.Status.InitContainerStatuses {
		c := &pod.Status.InitContainerStatuses[i]
		p.restarts += c.RestartCount
		switch terminated, waiting := c.State.Terminated, c.State.Waiting; {
		case terminated != nil && terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				p.ready++
			}
			continue
		case terminated != nil:
			p.reason = "Init:" + exitReason(terminated)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			p.reason = "Init:" + waiting.Reason
		default:
			p.reason = fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
		}
		return true
	}
	return false
}

// addMain goes through the containers backwards, so that the reason of the first one wins. Restarts of init
// containers that are over no longer count, those of sidecars do.
func (p *podSummary) addMain(pod *corev1.Pod) {
	p.restarts = sidecarRestarts(pod)
	running, failure := false, ""
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &pod.Status.ContainerStatuses[i]
		p.restarts += c.RestartCount
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			p.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			p.reason = exitReason(c.State.Terminated)
			if c.State.Terminated.ExitCode != 0 {
				failure = p.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			p.ready++
		}
	}
	if p.reason != "Completed" {
		return
	}
	ready := condition(pod, corev1.PodReady)
	switch {
	case running && ready != nil && ready.Status == corev1.ConditionTrue:
		p.reason = "Running"
	case failure != "":
		p.reason = failure
	case running:
		p.reason = "NotReady"
	}
}

func sidecarRestarts(pod *corev1.Pod) int32 {
	restarts := int32(0)
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		if spec.RestartPolicy == nil || *spec.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for j := range pod.Status.InitContainerStatuses {
			if pod.Status.InitContainerStatuses[j].Name == spec.Name {
				restarts += pod.Status.InitContainerStatuses[j].RestartCount
			}
		}
	}
	return restarts
}

func exitReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
