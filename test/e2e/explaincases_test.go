// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// updated deploys a Rollout of two pods and updates it.
func updated(steps []v1alpha1.CanaryStep, change func(*v1alpha1.Rollout)) func(*scenario, string) {
	return func(s *scenario, name string) {
		s.deploy(newRollout(name, 2, steps...))
		s.change(name, func(r *v1alpha1.Rollout) {
			r.Spec.Template.Spec.Containers[0].Image = image("two")
			change(r)
		})
	}
}

func nothingElse(*v1alpha1.Rollout) {}

// paused is an update that waits in an indefinite pause.
func paused(s *scenario, name string) { s.pausedUpdate(name) }

// healthyAt waits until all pods run a version.
func healthyAt(tag string, pods int) func(*scenario, string) {
	return func(s *scenario, name string) {
		r := s.awaitPhase(name, v1alpha1.RolloutPhaseHealthy)
		s.pods(r, map[string]int{tag: pods})
	}
}

func atPauseStep(step int32) func(*scenario, string) {
	return func(s *scenario, name string) { s.atPause(name, step) }
}

// backAtOne waits until an abort has brought all pods back to the first version.
func backAtOne(s *scenario, name string) {
	s.stage(name, cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{"one": 2}})
}

func calledBefore(args ...string) func(*scenario, string) {
	return func(s *scenario, name string) {
		s.pausedUpdate(name)
		s.kubectl(append([]string{"sluice", args[0], name}, args[1:]...)...)
	}
}

// What waits for people.
var peopleWaitedFor = []blockedBy{
	{
		what: "indefinite pause", code: v1alpha1.BlockerPaused,
		reach: paused, words: []string{"step 1/6", "without an end", "until somebody promotes"},
		next: "promote", moved: atPauseStep(2),
	},
	{
		what: "timed pause", code: v1alpha1.BlockerTimedPause,
		reach: updated([]v1alpha1.CanaryStep{weight(50), pauseFor(3600)}, nothingElse), words: []string{"step 1/2", "a pause of 1h0m0s", "59m5", "are left"},
		next: "promote", moved: healthyAt("two", 2),
	},
	{
		what: "approval", code: v1alpha1.BlockerApprovalMissing,
		reach: func(s *scenario, name string) {
			s.user("alice", "sluice-releaser")
			s.user("bob", "sluice-releaser")
			updated([]v1alpha1.CanaryStep{weight(50), approval(2)}, nothingElse)(s, name)
			s.blocked(name, v1alpha1.BlockerApprovalMissing, "0 of 2 given, 2 more needed")
			s.callAdvised("kubectl sluice promote "+name+" -n "+s.namespace, []string{"alice"})
		},
		words: []string{"step 1/2 asks for approval", "1 of 2 given (by alice)", "1 more needed", "not from the authors of the template"},
		next:  "promote", callers: []string{"bob"}, moved: healthyAt("two", 2),
	},
	{
		what: "paused by the verb", code: v1alpha1.BlockerManuallyPaused, codes: []v1alpha1.BlockerCode{v1alpha1.BlockerManuallyPaused, v1alpha1.BlockerPaused},
		reach: calledBefore("pause", "--reason=incident 42"), words: []string{"spec.paused is set", "by user", "incident 42"},
		next: "resume", moved: func(s *scenario, name string) {
			s.await(name, func(r *v1alpha1.Rollout) string {
				return unless(!r.Spec.Paused && r.Status.ObservedGeneration == r.Generation && len(r.Status.PauseConditions) == 1, "resumed")
			})
		},
	},
	{
		what: "paused by an edit", code: v1alpha1.BlockerManuallyPaused,
		reach: updated([]v1alpha1.CanaryStep{weight(50), pause()}, func(r *v1alpha1.Rollout) { r.Spec.Paused = true }), words: []string{"spec.paused is set; nothing moves until it is resumed"},
		next: "resume", moved: atPauseStep(1),
	},
	{
		what: "aborted", code: v1alpha1.BlockerAborted,
		reach: calledBefore("abort", "--reason=too many errors"), words: []string{"aborted update to revision 2", "by user", "too many errors", "retry it, undo it, or change the template"},
		next: "retry", moved: atPauseStep(1),
	},
	{
		what: "held", code: v1alpha1.BlockerHeld,
		reach: func(s *scenario, name string) {
			r := s.deploy(newRollout(name, 2))
			s.annotateSet(s.sets(r)[0].Name, rollouts.RevisionAnnotation, "9")
		},
		words:  []string{"carries a higher revision", "Restore the newest copy of the store", "keeps the pods, and apply the manifest again"},
		next:   "detach",
		remedy: func(s *scenario, _ string) { s.observeAll(2) },
		moved: func(s *scenario, name string) {
			gone(s, s.Rollout(s.namespace, name))
			healthy := s.deploy(newRollout(name, 2))
			if sets := s.sets(healthy); len(sets) != 1 || healthy.Status.Revision != 9 {
				s.Errorf("%d ReplicaSets, revision %d", len(sets), healthy.Status.Revision)
			}
		},
	},
	{
		what: "being deleted", code: v1alpha1.BlockerBeingDeleted,
		reach: func(s *scenario, name string) {
			s.deploy(newRollout(name, 1))
			s.change(name, func(r *v1alpha1.Rollout) { r.Finalizers = []string{"example.com/hold"} })
			s.must(s.rollouts().Delete(s.ctx(), name, metav1.DeleteOptions{}))
		},
		words:  []string{"its pods go with it", "until its finalizers are gone: example.com/hold"},
		remedy: func(s *scenario, name string) { s.release(name) },
		moved:  func(s *scenario, name string) { gone(s, s.Rollout(s.namespace, name)) },
	},
}

// annotateSet annotates a ReplicaSet.
func (s *scenario) annotateSet(name, key, value string) {
	s.Helper()
	patch := `{"metadata":{"annotations":{"` + key + `":"` + value + `"}}}`
	_, err := s.Host.AppsV1().ReplicaSets(s.namespace).Patch(s.ctx(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

// unplayed makes a node on which nobody plays the kubelet, and returns a template's change that puts the pods of
// version two there. Nothing but the test says how they fare.
func (s *scenario) unplayed() func(*v1alpha1.Rollout) {
	s.Helper()
	name := "unplayed-" + s.namespace
	_, err := s.Host.CoreV1().Nodes().Create(s.ctx(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		if err := s.Host.CoreV1().Nodes().Delete(context.WithoutCancel(s.Context()), name, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
	return func(r *v1alpha1.Rollout) {
		r.Spec.Template.Spec.NodeName = name
		r.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	}
}

// faring is an update whose only pod fares as the kubelet would say it does.
func faring(phase corev1.PodPhase, ready corev1.PodCondition, main corev1.ContainerStatus) func(*scenario, string) {
	return func(s *scenario, name string) {
		updated([]v1alpha1.CanaryStep{weight(50), pause()}, s.unplayed())(s, name)
		pods := s.Pods(s.namespace, "app="+name)
		var canary *corev1.Pod
		_, err := cluster.Await(s.ctx(), pods, func(found []*corev1.Pod) string {
			for _, pod := range found {
				if cluster.Tag(&pod.Spec) == "two" {
					canary = pod
				}
			}
			return unless(canary != nil, "a pod of version two")
		})
		s.must(err)
		main.Name, main.Image = "main", image("two")
		canary.Status.Phase, canary.Status.ContainerStatuses = phase, []corev1.ContainerStatus{main}
		ready.Type, ready.Status, ready.LastTransitionTime = corev1.PodReady, corev1.ConditionFalse, metav1.Now()
		canary.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, ready}
		_, err = s.Host.CoreV1().Pods(s.namespace).UpdateStatus(s.ctx(), canary, metav1.UpdateOptions{})
		s.must(err)
	}
}

func waits(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func unschedulable(r *v1alpha1.Rollout) {
	r.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such-node"}
}

// What waits for pods.
var podsWaitedFor = []blockedBy{
	{
		what: "no node", code: v1alpha1.BlockerPodsNotAvailable,
		reach: updated([]v1alpha1.CanaryStep{weight(50)}, unschedulable), words: []string{"1 pod of revision 2 not available: Unschedulable", "nodes are available", "node affinity/selector"},
		next: "abort", moved: backAtOne,
	},
	{
		what: "no image", code: v1alpha1.BlockerPodsNotAvailable,
		reach: faring(corev1.PodPending, corev1.PodCondition{}, corev1.ContainerStatus{State: waits("ImagePullBackOff", `Back-off pulling image "example.com/demo:two": not found`)}),
		words: []string{`1 pod of revision 2 not available: ImagePullBackOff: container main: Back-off pulling image "example.com/demo:two"`},
		next:  "abort", moved: backAtOne,
	},
	{
		what: "crash loop", code: v1alpha1.BlockerPodsNotAvailable,
		reach: faring(corev1.PodRunning, corev1.PodCondition{}, corev1.ContainerStatus{
			State: waits("CrashLoopBackOff", "back-off 40s restarting failed container=main"), RestartCount: 4,
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: "heap\nis full\n"}},
		}),
		words: []string{"CrashLoopBackOff", "back-off 40s", "restarted 4 times, ended last with exit code 137 (OOMKilled): heap is full"},
		next:  "abort", moved: backAtOne,
	},
	{
		what: "not ready", code: v1alpha1.BlockerPodsNotAvailable,
		reach: faring(corev1.PodRunning, corev1.PodCondition{Reason: "ContainersNotReady", Message: "containers with unready status: [main]"},
			corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}),
		words: []string{"NotReady: containers with unready status: [main]"},
		next:  "abort", moved: backAtOne,
	},
	{
		what: "image is still pulled", code: v1alpha1.BlockerPodsNotAvailable,
		reach: faring(corev1.PodPending, corev1.PodCondition{}, corev1.ContainerStatus{State: waits("ContainerCreating", "")}),
		words: []string{"1 pod of revision 2 not available: ContainerCreating"},
		// It passes by itself, so nobody is told to abort.
		remedy: func(s *scenario, name string) {
			s.change(name, func(r *v1alpha1.Rollout) { r.Spec.Template.Spec.NodeName = "" })
		},
		moved: atPauseStep(1),
	},
	{
		what: "minReadySeconds", code: v1alpha1.BlockerPodsNotAvailable,
		reach: func(s *scenario, name string) {
			r := newRollout(name, 2)
			r.Spec.MinReadySeconds, r.Spec.ProgressDeadlineSeconds = 3600, ptr.To[int32](7200)
			s.create(r)
			if b := s.blocked(name, v1alpha1.BlockerPodsNotAvailable, "MinReadySeconds"); b.Until == nil || b.Until.Sub(b.Since.Time) != time.Hour {
				s.Errorf("until %v, since %v", b.Until, b.Since)
			}
		},
		words: []string{"2 pods of revision 1 not available: MinReadySeconds: ready, but not yet for 3600 s"},
		remedy: func(s *scenario, name string) {
			s.change(name, func(r *v1alpha1.Rollout) { r.Spec.MinReadySeconds = 0 })
		},
		moved: healthyAt("one", 2),
	},
	{
		what: "deadline", code: v1alpha1.BlockerDeadlineExceeded, codes: []v1alpha1.BlockerCode{v1alpha1.BlockerPodsNotAvailable, v1alpha1.BlockerDeadlineExceeded},
		reach: updated([]v1alpha1.CanaryStep{weight(50)}, func(r *v1alpha1.Rollout) {
			unschedulable(r)
			r.Spec.ProgressDeadlineSeconds = ptr.To[int32](3)
		}),
		words: []string{"no progress for 3s", "has timed out progressing"},
		next:  "abort", moved: backAtOne,
	},
	{
		what: "aborted for the deadline", code: v1alpha1.BlockerAborted,
		reach: updated([]v1alpha1.CanaryStep{weight(50), pause()}, func(r *v1alpha1.Rollout) {
			unschedulable(r)
			r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](1), true
		}),
		words: []string{"aborted update to revision 2", "has timed out progressing; retry it, undo it, or change the template"},
		next:  "retry", moved: func(s *scenario, name string) { s.blocked(name, v1alpha1.BlockerPodsNotAvailable, "Unschedulable") },
	},
}
