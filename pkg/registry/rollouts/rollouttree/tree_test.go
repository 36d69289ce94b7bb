// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

var born = metav1.NewTime(time.Unix(1_800_000_000, 0))

// controller is an owner reference.
func controller(kind, name string, uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: name, UID: uid, Controller: ptr.To(true)}}
}

func replicaSet(r *rollouts.Rollout, hash string, revision int, replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: r.Name + "-" + hash, Namespace: r.Namespace, UID: types.UID(r.Name + hash), CreationTimestamp: born,
			Labels:          map[string]string{rollouts.PodTemplateHashLabel: hash},
			Annotations:     map[string]string{rollouts.RevisionAnnotation: fmt.Sprint(revision)},
			OwnerReferences: controller("Rollout", r.Name, r.UID),
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "web:" + hash}}}}},
		Status: appsv1.ReplicaSetStatus{Replicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas},
	}
}

func pod(rs *appsv1.ReplicaSet, name string, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: rs.Namespace, UID: types.UID(name), CreationTimestamp: born, OwnerReferences: controller("ReplicaSet", rs.Name, rs.UID)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}},
		Status:     status,
	}
}

var running = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "web", Ready: true, RestartCount: 2, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}

// canary is a Rollout in the middle of an update: stable a, canary b, and an old revision.
func canary(name string) engine.Snapshot {
	r := &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}, CreationTimestamp: born, Generation: 2},
		Spec: rollouts.RolloutSpec{Replicas: ptr.To[int32](4), Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
			Steps: []rollouts.CanaryStep{{SetWeight: ptr.To[int32](25)}, {Pause: &rollouts.RolloutPause{}}}}}},
		Status: rollouts.RolloutStatus{Phase: rollouts.RolloutPhasePaused, ObservedGeneration: 2, CurrentPodHash: "b", StableRS: "a", CurrentStepIndex: ptr.To[int32](1), Replicas: 4, UpdatedReplicas: 1, ReadyReplicas: 4, AvailableReplicas: 4},
	}
	stable, current, old := replicaSet(r, "a", 2, 3), replicaSet(r, "b", 3, 1), replicaSet(r, "c", 1, 0)
	stranger := replicaSet(r, "x", 9, 1)
	stranger.OwnerReferences = nil
	return engine.Snapshot{
		Rollout:     r,
		ReplicaSets: []*appsv1.ReplicaSet{old, stable, stranger, current},
		Pods:        []*corev1.Pod{pod(stable, "a2", running), pod(stable, "a1", running), pod(current, "b1", corev1.PodStatus{Phase: corev1.PodPending}), pod(stranger, "x1", running)},
	}
}

// drawn is a tree as kubectl prints it, without ages.
func drawn(t *testing.T, tree *rollouts.RolloutTree) string {
	t.Helper()
	table, err := (&REST{}).ConvertToTable(context.Background(), tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, row := range table.Rows {
		if len(row.Cells) != len(table.ColumnDefinitions) || row.Object.Object != tree {
			t.Fatalf("row %v", row.Cells)
		}
		row.Cells[5] = ""
		b.WriteString(strings.Join(strings.Fields(fmt.Sprintln(row.Cells...)), " ") + "\n")
	}
	return b.String()
}

func TestTree(t *testing.T) {
	s := canary("demo")
	before := s.Rollout.DeepCopy()
	got := drawn(t, treeOf(s))
	want := `⟳ demo Rollout Paused 4/4 step 1/2, weight 25
├──# revision:3 Revision
│ └──⧉ demo-b ReplicaSet Healthy 1/1 canary web:b
│ └──□ b1 Pod Pending 0/1 0
├──# revision:2 Revision
│ └──⧉ demo-a ReplicaSet Healthy 3/3 stable web:a
│ ├──□ a1 Pod Running 1/1 2
│ └──□ a2 Pod Running 1/1 2
└──# revision:1 Revision
└──⧉ demo-c ReplicaSet ScaledDown 0/0 web:c
`
	if got != want {
		t.Errorf("drawn\n%swant\n%s", got, want)
	}
	if !apiequality.Semantic.DeepEqual(before, s.Rollout) {
		t.Error("the Rollout was modified")
	}
}

// TestTreeOfBlueGreen: before the switch, and after it, with pods of the revision before that are kept.
func TestTreeOfBlueGreen(t *testing.T) {
	roles := func(s engine.Snapshot) string {
		var got []string
		for _, revision := range treeOf(s).Revisions {
			got = append(got, revision.ReplicaSets[0].PodHash+":"+string(revision.ReplicaSets[0].Role))
		}
		return strings.Join(got, " ")
	}
	s := canary("demo")
	s.Rollout.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: "web"}}
	s.Rollout.Status.CurrentStepIndex = nil
	s.Rollout.Status.BlueGreen = &rollouts.BlueGreenStatus{ActiveSelector: "a"}
	if got := roles(s); got != "b:preview a:active c:" {
		t.Errorf("before the switch: %s", got)
	}
	if root := treeOf(s).Rollout; root.Strategy != "BlueGreen" || root.SetWeight != 0 || root.ActualWeight != 0 {
		t.Errorf("%+v", root)
	}
	if got := drawn(t, treeOf(s)); !strings.HasPrefix(got, "⟳ demo Rollout Paused 4/4\n") {
		t.Errorf("drawn\n%s", got)
	}
	s.Rollout.Status.BlueGreen.ActiveSelector = "b"
	if got := roles(s); got != "b:active a:stable c:" {
		t.Errorf("while the switch is taken in: %s", got)
	}
	s.Rollout.Status.StableRS = "b"
	for _, rs := range s.ReplicaSets {
		rs.Annotations[rollouts.ScaleDownDeadlineAnnotation] = "2027-01-15T08:00:30Z"
	}
	if got := roles(s); got != "b:active a:delay c:" {
		t.Errorf("after the switch: %s", got)
	}
}

func TestTreeOfWhatIsNotObserved(t *testing.T) {
	s := canary("demo")
	s.Rollout.Generation, s.Rollout.Status.Phase = 3, rollouts.RolloutPhaseHealthy
	if root := treeOf(s).Rollout; root.Phase != rollouts.RolloutPhaseProgressing || root.Message != messageNotObserved || root.ActualWeight != 25 {
		t.Errorf("%+v", root)
	}
}

func TestTreeOfAFirstDeploymentHasNoRoles(t *testing.T) {
	s := canary("demo")
	s.Rollout.Status.StableRS = ""
	for _, revision := range treeOf(s).Revisions {
		if role := revision.ReplicaSets[0].Role; role != "" {
			t.Errorf("revision %d is %s", revision.Revision, role)
		}
	}
}

func TestReplicaSetWords(t *testing.T) {
	for want, change := range map[string]func(*appsv1.ReplicaSet){
		"Healthy":     func(*appsv1.ReplicaSet) {},
		"ScaledDown":  func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](0) },
		"Progressing": func(rs *appsv1.ReplicaSet) { rs.Status.AvailableReplicas-- },
		"ReplicaFailure": func(rs *appsv1.ReplicaSet) {
			rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue}}
		},
	} {
		rs := replicaSet(canary("demo").Rollout, "a", 1, 2)
		change(rs)
		if got := wordFor(rs); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestPodWords(t *testing.T) {
	waiting := func(reason string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
	exited := func(code int32, reason string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "web", RestartCount: 1, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}}}
	}
	deleted := metav1.Now()
	for want, status := range map[string]corev1.PodStatus{
		"Running":           running,
		"Pending":           {Phase: corev1.PodPending},
		"CrashLoopBackOff":  {Phase: corev1.PodRunning, ContainerStatuses: waiting("CrashLoopBackOff")},
		"Error":             {Phase: corev1.PodRunning, ContainerStatuses: exited(1, "Error")},
		"ExitCode:3":        {Phase: corev1.PodRunning, ContainerStatuses: exited(3, "")},
		"Completed":         {Phase: corev1.PodSucceeded, ContainerStatuses: exited(0, "Completed")},
		"Evicted":           {Phase: corev1.PodFailed, Reason: "Evicted"},
		"Init:0/1":          {Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{Name: "init", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
		"Init:ErrImagePull": {Phase: corev1.PodPending, InitContainerStatuses: waiting("ErrImagePull")},
		"SchedulingGated":   {Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated}}},
		"Terminating":       running,
	} {
		p := pod(replicaSet(canary("demo").Rollout, "a", 1, 1), "p", status)
		if len(status.InitContainerStatuses) > 0 {
			p.Spec.InitContainers = []corev1.Container{{Name: "init"}}
		}
		if want == "Terminating" {
			p.DeletionTimestamp = &deleted
		}
		if got := summarise(p).reason; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
