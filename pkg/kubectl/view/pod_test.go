// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func terminated(reason string, code, signal int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, Signal: signal}}
}

var running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

// TestPodSummary holds the words against those of kubectl get pods.
func TestPodSummary(t *testing.T) {
	sidecar := corev1.Container{Name: "sidecar", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}
	tests := []struct {
		rule string
		set  func(*corev1.Pod)
		want string
		info string
	}{
		{"running and ready", func(*corev1.Pod) {}, "✔ Running", "ready:1/1"},
		{"running, not ready", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].Ready = false }, "◌ Running", "ready:0/1"},
		{"restarts are counted", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = 2 }, "✔ Running", "ready:1/1,restarts:2"},
		{"not scheduled", func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }, "◷ Pending", "ready:0/1"},
		{"held back by a scheduling gate", func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated}}}
		}, "◷ SchedulingGated", "ready:0/1"},
		{"creating", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: waiting("ContainerCreating")}
		}, "◌ ContainerCreating", "ready:0/1"},
		{"image cannot be pulled", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: waiting("ImagePullBackOff")}
		}, "⚠ ImagePullBackOff", "ready:0/1"},
		{"pulling failed", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: waiting("ErrImagePull")}
		}, "⚠ ErrImagePull", "ready:0/1"},
		{"crashing", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: waiting("CrashLoopBackOff"), RestartCount: 7}
		}, "✖ CrashLoopBackOff", "ready:0/1,restarts:7"},
		{"killed", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: terminated("OOMKilled", 137, 0)}
		}, "✖ OOMKilled", "ready:0/1"},
		{"ended by a signal, without a reason", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: terminated("", 0, 9)}
		}, "✖ Signal:9", "ready:0/1"},
		{"ended with a code, without a reason", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{State: terminated("", 3, 0)}
		}, "✖ ExitCode:3", "ready:0/1"},
		{"one of two containers has completed", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two"})
			p.Status.ContainerStatuses = append([]corev1.ContainerStatus{{State: terminated("Completed", 0, 0)}}, p.Status.ContainerStatuses...)
		}, "◌ NotReady", "ready:1/2"},
		{"one of two containers has completed, the pod is ready", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two"})
			p.Status.ContainerStatuses = append([]corev1.ContainerStatus{{State: terminated("Completed", 0, 0)}}, p.Status.ContainerStatuses...)
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}, "◌ Running", "ready:1/2"},
		{"being deleted", func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }, "◌ Terminating", "ready:1/1"},
		{"being deleted on a lost node", func(p *corev1.Pod) {
			p.DeletionTimestamp, p.Status.Reason = ptr.To(metav1.Now()), "NodeLost"
		}, "? Unknown", "ready:1/1"},
		{"evicted", func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"} }, "✖ Evicted", "ready:0/1"},
		{"init container at work", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "a"}, {Name: "b"}}
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{
				{Name: "a", State: terminated("Completed", 0, 0)}, {Name: "b", State: running},
			}}
		}, "◌ Init:1/2", "ready:0/1"},
		{"init container failed", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "a"}}
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: terminated("Error", 1, 0), RestartCount: 1}}}
		}, "✖ Init:Error", "ready:0/1,restarts:1"},
		{"init container cannot be pulled", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "a"}}
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: waiting("ImagePullBackOff")}}}
		}, "⚠ Init:ImagePullBackOff", "ready:0/1"},
		{"a sidecar counts as a container, and its restarts go on counting", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "a"}, sidecar}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{
				{Name: "a", State: terminated("Completed", 0, 0), RestartCount: 5},
				{Name: "sidecar", State: running, Started: ptr.To(true), Ready: true, RestartCount: 1},
			}
		}, "✔ Running", "ready:2/2,restarts:1"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			p := pod(replicaSet("new", 1, 1, "i", time.Minute), "x", runningStatus())
			test.set(p)
			summary := summarise(p)
			if got := summary.status().span().text; got != test.want {
				t.Errorf("status %q, want %q", got, test.want)
			}
			if got := summary.info(); got != test.info {
				t.Errorf("info %q, want %q", got, test.info)
			}
		})
	}
}
