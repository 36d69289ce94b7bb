// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// podIn is a pod of a ReplicaSet, created when the world began.
func podIn(rs *appsv1.ReplicaSet, name string, status corev1.PodStatus) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start), OwnerReferences: []metav1.OwnerReference{{UID: rs.UID, Controller: &yes}}},
		Status:     status,
	}
}

// waiting is the status of a pod whose container waits.
func waiting(reason, message string) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{container("main", reason, message)}}
}

func container(name, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

// restarted is a container that was restarted after it had been killed.
func restarted(s corev1.ContainerStatus, message string) corev1.ContainerStatus {
	s.RestartCount = 3
	s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: message}
	return s
}

func condition(kind corev1.PodConditionType, is corev1.ConditionStatus, reason, message string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: is, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(start)}
}

func TestExplainPods(t *testing.T) {
	ready := condition(corev1.PodReady, corev1.ConditionTrue, "", "")
	running := corev1.ContainerStatus{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	for name, test := range map[string]struct {
		status  corev1.PodStatus
		message string
		// passes is true for what passes by itself, so that the update is not to be aborted.
		passes bool
	}{
		"no node":        {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available")}}, "Unschedulable: 0/3 nodes are available", false},
		"no image":       {waiting("ImagePullBackOff", "Back-off pulling image"), "ImagePullBackOff: container main: Back-off pulling image", false},
		"crashing":       {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{restarted(container("main", "CrashLoopBackOff", "back-off 40s"), "heap\n  full\n")}}, "CrashLoopBackOff: container main: back-off 40s; restarted 3 times, ended last with exit code 137 (OOMKilled): heap full", false},
		"last words":     {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{restarted(container("main", "CrashLoopBackOff", ""), strings.Repeat("é", 500))}}, "(OOMKilled): ..." + strings.Repeat("é", 100), false},
		"init container": {corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{container("migrate", "ErrImagePull", "")}}, "ErrImagePull: container migrate", false},
		"initializing": {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{condition(corev1.PodInitialized, corev1.ConditionFalse, "", "containers with incomplete status: [migrate]")},
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "migrate", State: running.State}}, ContainerStatuses: []corev1.ContainerStatus{container("main", "PodInitializing", "")}},
			"PodInitializing: containers with incomplete status: [migrate]", true},
		"the one that fails": {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container("slow", "ContainerCreating", ""), container("main", "ErrImagePull", "no such tag")}}, "ErrImagePull: container main: no such tag", false},
		"creating":           {waiting("ContainerCreating", ""), "ContainerCreating: container main", true},
		"failed":             {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}}}}, "Error: container main ended with exit code 3 (Error)", false},
		"evicted":            {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on memory"}, "Evicted: low on memory", false},
		"not ready":          {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionFalse, "ContainersNotReady", "containers with unready status: [main]")}}, "NotReady: containers with unready status: [main]", false},
		"not ready again": {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionFalse, "", "unready")}, ContainerStatuses: []corev1.ContainerStatus{restarted(running, "")}},
			"NotReady: unready; container main restarted 3 times, ended last with exit code 137 (OOMKilled)", false},
		"pending": {corev1.PodStatus{Phase: corev1.PodPending}, "not available: Pending", true},
		"ready":   {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{ready}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(4, twoSteps...))
			w.edit("v2", image("v2"))
			w.Reconcile()
			s := w.Snapshot()
			canary := w.Find(w.Rollout.Status.CurrentPodHash)
			stranger := podIn(&appsv1.ReplicaSet{}, "stranger", test.status)
			s.Pods = append(s.Pods, podIn(canary, "b", test.status), podIn(canary, "a", test.status), stranger)
			got := engine.Explain(s, acting)
			if test.message == "" {
				if len(got) != 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Code != rollouts.BlockerPodsNotAvailable || !strings.HasPrefix(got[0].Message, "2 pods of revision 2 not available: ") || !strings.HasSuffix(got[0].Message, test.message) {
				t.Fatalf("%+v", got)
			}
			if strings.Join(got[0].Pods, " ") != "a b" || got[0].Since == nil {
				t.Errorf("pods %v since %v", got[0].Pods, got[0].Since)
			}
			if (got[0].Next == "") != test.passes {
				t.Errorf("next %q", got[0].Next)
			}
		})
	}
}

// What is wrong with the pods comes before the pause in which it shows, and what only starts after it. Pods of the
// stable revision are no reason to abort.
func TestExplainOrderInAPause(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.update("v2")
	canary, stable := w.Find(w.Rollout.Status.CurrentPodHash), w.Find(w.Rollout.Status.StableRS)
	crashing := waiting("CrashLoopBackOff", "")
	for name, test := range map[string]struct {
		pod   *corev1.Pod
		codes string
		next  string
	}{
		"canary fails":  {podIn(canary, "a", crashing), "PodsNotAvailable Paused", "kubectl sluice abort demo -n default"},
		"canary starts": {podIn(canary, "a", waiting("ContainerCreating", "")), "Paused PodsNotAvailable", "kubectl sluice promote demo -n default"},
		"stable fails":  {podIn(stable, "a", crashing), "PodsNotAvailable Paused", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.Snapshot()
			s.Pods = []*corev1.Pod{test.pod}
			got := engine.Explain(s, acting)
			if len(got) != 2 || string(got[0].Code)+" "+string(got[1].Code) != test.codes || got[0].Next != test.next {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A pod that is ready says until when it is not available yet.
func TestExplainMinReadySeconds(t *testing.T) {
	r := rollout(4, twoSteps...)
	r.Spec.MinReadySeconds = 30
	w := deployed(t, r)
	w.edit("v2", image("v2"))
	w.Reconcile()
	s := w.Snapshot()
	s.Now = start.Add(10 * time.Second)
	s.Pods = []*corev1.Pod{podIn(w.Find(w.Rollout.Status.CurrentPodHash), "a", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionTrue, "", "")}})}
	got := engine.Explain(s, acting)
	if len(got) != 1 || got[0].Until == nil || got[0].Until.Sub(start) != 30*time.Second || got[0].Next != "" {
		t.Errorf("%+v", got)
	}
}

// A pod that was evicted and replaced blocks nothing, though it is still there to be looked at.
func TestExplainLeavesReplacedPodsOut(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	s := w.Snapshot()
	s.Pods = []*corev1.Pod{podIn(s.ReplicaSets[0], "a", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"})}
	if got := engine.Explain(s, acting); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// Whatever ReplicaSet it is whose pods the cluster refuses is told of, in the words of the cluster; the stable one above
// all after an abort.
func TestExplainPodsRefused(t *testing.T) {
	failure := func(reason string) appsv1.ReplicaSetCondition {
		return appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: "exceeded quota: pods", LastTransitionTime: metav1.NewTime(start)}
	}
	for name, test := range map[string]struct {
		abort          bool
		set, condition appsv1.ReplicaSetCondition
		stable         bool
		codes          string
		words          []string
		next           string
	}{
		"canary":           {set: failure("FailedCreate"), codes: "PodsRefused Paused", words: []string{"create pods of revision 2, of which there are 1 of 1", "exceeded quota: pods"}, next: "abort"},
		"told twice":       {set: failure("FailedCreate"), condition: failure("FailedCreate"), codes: "PodsRefused Paused", next: "abort"},
		"deletes":          {set: failure("FailedDelete"), codes: "PodsRefused Paused", words: []string{"delete pods"}, next: "abort"},
		"stable":           {set: failure("FailedCreate"), stable: true, abort: true, codes: "PodsRefused Aborted", words: []string{"revision 1 (stable), of which there are 4 of 4"}},
		"ReplicaSet":       {condition: failure("ReplicaSetCreateError"), codes: "PodsRefused Paused", words: []string{"a write of the controller: exceeded quota"}, next: "abort"},
		"after an abort":   {condition: failure("ScalingReplicaSetFailed"), abort: true, codes: "PodsRefused Aborted"},
		"both differently": {set: failure("FailedCreate"), condition: failure("ScalingReplicaSetFailed"), codes: "PodsRefused PodsRefused Paused", next: "abort"},
	} {
		t.Run(name, func(t *testing.T) {
			w := deployed(t, rollout(4, twoSteps...))
			w.update("v2")
			if test.abort {
				w.must(w.Abort())
			}
			s := w.Snapshot()
			hash := w.Rollout.Status.CurrentPodHash
			if test.stable {
				hash = w.Rollout.Status.StableRS
			}
			for i, rs := range s.ReplicaSets {
				if rs.UID == w.Find(hash).UID && test.set.Type != "" {
					s.ReplicaSets[i] = rs.DeepCopy()
					s.ReplicaSets[i].Status.Conditions = []appsv1.ReplicaSetCondition{test.set}
				}
			}
			if c := test.condition; c.Type != "" {
				s.Rollout = s.Rollout.DeepCopy()
				s.Rollout.Status.Conditions = append(s.Rollout.Status.Conditions, rollouts.RolloutCondition{Type: rollouts.RolloutReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message, LastTransitionTime: c.LastTransitionTime})
			}
			var codes []string
			var refused *rollouts.Blocker
			for _, b := range engine.Explain(s, acting) {
				codes = append(codes, string(b.Code))
				if b.Code == rollouts.BlockerPodsRefused && refused == nil {
					refused = &b
				}
			}
			if strings.Join(codes, " ") != test.codes {
				t.Fatalf("codes %v", codes)
			}
			for _, word := range test.words {
				if !strings.Contains(refused.Message, word) {
					t.Errorf("%q does not say %q", refused.Message, word)
				}
			}
			if strings.Contains(refused.Next, " abort ") != (test.next != "") || refused.Since == nil {
				t.Errorf("next %q since %v", refused.Next, refused.Since)
			}
		})
	}
}

// While the ReplicaSet of the current revision is being deleted nothing can take its place.
func TestExplainReplicaSetThatIsLeaving(t *testing.T) {
	w := deployed(t, rollout(4, twoSteps...))
	w.Remove(w.Find(w.Rollout.Status.CurrentPodHash), false)
	w.Reconcile()
	s := w.Snapshot()
	s.ReplicaSets[0] = s.ReplicaSets[0].DeepCopy()
	s.ReplicaSets[0].Finalizers = []string{"example.com/hold"}
	got := engine.Explain(s, acting)
	if len(got) != 1 || got[0].Code != rollouts.BlockerPodsNotAvailable || got[0].Since == nil || !strings.Contains(got[0].Message, "example.com/hold") {
		t.Errorf("%+v", got)
	}
}
