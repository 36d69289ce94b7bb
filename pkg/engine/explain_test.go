// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

func fmt32(n int32) string { return fmt.Sprint(n) }

// acting is a controller that acts.
var acting = engine.ControllerState{Acting: true}

// blockers checks the codes of what Explain says now.
func (w *world) blockers(want string) []rollouts.Blocker {
	w.t.Helper()
	blockers := engine.Explain(w.Snapshot(), acting)
	var codes []string
	for _, b := range blockers {
		codes = append(codes, string(b.Code))
		if b.Message == "" {
			w.t.Errorf("%s says nothing", b.Code)
		}
	}
	if strings.Join(codes, " ") != want {
		w.t.Fatalf("blockers %v, want %s", codes, want)
	}
	return blockers
}

func TestExplain(t *testing.T) {
	for name, test := range map[string]struct {
		reach   func(w *world)
		codes   string
		message string
		next    string
	}{
		"Healthy":       {func(*world) {}, "", "", ""},
		"not observed":  {func(w *world) { w.edit("v2", image("v2")) }, "NotObserved", "generation 2, observed 1", ""},
		"moving":        {func(w *world) { w.edit("v2", image("v2")); w.Reconcile() }, "", "", ""},
		"paused":        {func(w *world) { w.update("v2") }, "Paused", "step 1/2", "promote"},
		"aborted":       {func(w *world) { w.update("v2"); w.must(w.Abort()); w.settle() }, "Aborted", "aborted", "retry"},
		"paused twice":  {func(w *world) { w.update("v2"); w.must(w.Pause()); w.settle() }, "ManuallyPaused Paused", "spec.paused", "resume"},
		"deadline":      {func(w *world) { w.update("bad") }, "ProgressDeadlineExceeded", "10m0s", "abort"},
		"promoted full": {func(w *world) { w.update("v2"); w.must(w.Promote(true)) }, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(4, twoSteps...))
			test.reach(w)
			blockers := w.blockers(test.codes)
			if len(blockers) == 0 {
				return
			}
			first := blockers[0]
			if !strings.Contains(first.Message, test.message) {
				t.Errorf("message %q does not say %q", first.Message, test.message)
			}
			if test.next != "" && first.Next != "kubectl sluice "+test.next+" demo -n default" {
				t.Errorf("next is %q", first.Next)
			}
			if name != "not observed" && name != "paused twice" && first.Since == nil {
				t.Error("since when?")
			}
		})
	}
}

func TestExplainTimedPause(t *testing.T) {
	w := deployed(t, rollout(4, weight(25), pause("1h")))
	w.edit("v2", image("v2"))
	w.waitFor(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	w.Sleep(20 * time.Minute)
	b := w.blockers("TimedPause")[0]
	if left := b.Until.Sub(w.Now()); left < 39*time.Minute || left > 41*time.Minute || !strings.Contains(b.Message, "40m0s are left") && !strings.Contains(b.Message, "39m5") {
		t.Errorf("%v left, %q", left, b.Message)
	}
}

func TestExplainApprovalSaysWhoIsNeeded(t *testing.T) {
	w := atApproval(t)
	w.must(w.promote(member("alice")))
	b := w.blockers("ApprovalMissing")[0]
	for _, part := range []string{"1 of 2 given (by alice)", "release-managers", "carol"} {
		if !strings.Contains(b.Message, part) {
			t.Errorf("message %q does not say %q", b.Message, part)
		}
	}
}

func TestExplainController(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	since := w.Now().Add(-time.Minute)
	got := engine.Explain(w.Snapshot(), engine.ControllerState{Message: "nobody holds the Lease", Since: since})
	if len(got) != 1 || got[0].Code != rollouts.BlockerControllerStopped || !strings.Contains(got[0].Message, "nobody holds the Lease") || got[0].Since == nil {
		t.Errorf("%+v", got)
	}
}

func TestExplainBeingDeletedAndHeld(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	s := w.Snapshot()
	s.Rollout = s.Rollout.DeepCopy()
	now := metav1.NewTime(w.Now())
	s.Rollout.DeletionTimestamp = &now
	if got := engine.Explain(s, acting); len(got) != 1 || got[0].Code != rollouts.BlockerBeingDeleted {
		t.Errorf("%+v", got)
	}
	s.Rollout.DeletionTimestamp = nil
	s.Rollout.Status.Conditions = append(s.Rollout.Status.Conditions, rollouts.RolloutCondition{Type: rollouts.RolloutHeld, Status: corev1.ConditionTrue, Message: "held"})
	if got := engine.Explain(s, acting); len(got) != 1 || got[0].Code != rollouts.BlockerHeld {
		t.Errorf("%+v", got)
	}
}

func TestExplainPods(t *testing.T) {
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}
	}
	ready := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(start)}}}
	for name, test := range map[string]struct {
		status  corev1.PodStatus
		message string
	}{
		"no node":        {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{scheduled}}, "Unschedulable: 0/3 nodes are available"},
		"no image":       {waiting("ImagePullBackOff", "Back-off pulling image"), "ImagePullBackOff: Back-off pulling image"},
		"crashing":       {waiting("CrashLoopBackOff", "back-off 10s"), "CrashLoopBackOff"},
		"init container": {corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}}}, "ErrImagePull"},
		"failed":         {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}}}}, "exit code 3"},
		"evicted":        {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on memory"}, "Evicted: low on memory"},
		"not ready":      {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: "containers with unready status: [main]"}}}, "NotReady: containers with unready"},
		"pending":        {corev1.PodStatus{Phase: corev1.PodPending}, "Pending"},
		"ready":          {ready, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(4, twoSteps...))
			w.edit("v2", image("v2"))
			w.Reconcile()
			s := w.Snapshot()
			rs := s.ReplicaSets[0]
			yes := true
			for _, n := range []string{"b", "a"} {
				s.Pods = append(s.Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: n, CreationTimestamp: metav1.NewTime(start),
					OwnerReferences: []metav1.OwnerReference{{UID: rs.UID, Controller: &yes}}}, Status: test.status})
			}
			stranger := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stranger", OwnerReferences: []metav1.OwnerReference{{UID: "other", Controller: &yes}}}}
			s.Pods = append(s.Pods, stranger)
			got := engine.Explain(s, acting)
			if test.message == "" {
				if len(got) != 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Code != rollouts.BlockerPodsNotAvailable || !strings.Contains(got[0].Message, "2 pods not available: ") || !strings.Contains(got[0].Message, test.message) {
				t.Fatalf("%+v", got)
			}
			if strings.Join(got[0].Pods, " ") != "a b" {
				t.Errorf("pods %v", got[0].Pods)
			}
		})
	}
}
