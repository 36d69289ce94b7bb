// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// pod is a pod of the version that its tag names.
func pod(name, tag string, ready bool) *corev1.Pod {
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse}
	if ready {
		condition.Status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/demo:" + tag}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{condition}},
	}
}

// leaving is the pod, being deleted.
func leaving(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = ptr.To(metav1.NewTime(time.Unix(0, 0)))
	return p
}

func restarted(p *corev1.Pod) *corev1.Pod {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
	return p
}

func byUID(pods ...*corev1.Pod) map[types.UID]*corev1.Pod {
	all := map[types.UID]*corev1.Pod{}
	for _, p := range pods {
		all[p.UID] = p
	}
	return all
}

func TestObserverOfPods(t *testing.T) {
	a, b, c, d := pod("a", "one", true), pod("b", "one", true), pod("c", "two", true), pod("d", "two", false)
	for _, test := range []struct {
		name  string
		event *corev1.Pod
		now   []*corev1.Pod
		want  string
		gone  []string
	}{
		{name: "as many as wanted", event: b, now: []*corev1.Pod{a, b}},
		{name: "one more, as surge allows", event: c, now: []*corev1.Pod{a, b, c}},
		{name: "one too many", event: d, now: []*corev1.Pod{a, b, c, d}, want: "4 pods, more than the 3"},
		{name: "too few are available", event: d, now: []*corev1.Pod{a, d}, want: "1 available pods, fewer than the 2"},
		{name: "a pod that is being deleted is no pod", event: leaving(pod("e", "one", true)), now: []*corev1.Pod{a, b, c, leaving(pod("e", "one", true))}, gone: []string{"e"}},
		{name: "a pod that is being deleted is not available", event: leaving(pod("e", "one", true)), now: []*corev1.Pod{a, leaving(pod("e", "one", true))},
			want: "1 available pods", gone: []string{"e"}},
		{name: "a pod was deleted", event: c, now: []*corev1.Pod{a, b}, gone: []string{"c"}},
		{name: "a container was restarted", event: restarted(pod("e", "one", true)), now: []*corev1.Pod{a, restarted(pod("e", "one", true))}, gone: []string{"e"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &Observer{bounds: Bounds{MaxPods: 3, MinAvailable: 2}, gone: map[types.UID]bool{}}
			o.seePods(test.event, byUID(test.now...))
			tally, err := o.Tally()
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if !slices.Equal(tally.Gone, test.gone) {
				t.Errorf("gone are %v, want %v", tally.Gone, test.gone)
			}
		})
	}
}

func TestObserverOfReplicaSets(t *testing.T) {
	set := func(name string, replicas int32) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(replicas)}}
	}
	o := &Observer{bounds: Bounds{MaxPods: 3}}
	one := set("one", 2)
	o.seeReplicaSets(one, map[types.UID]*appsv1.ReplicaSet{"one": one, "two": set("two", 1)})
	if _, err := o.Tally(); err != nil {
		t.Errorf("3 of 3 pods are out of bounds: %v", err)
	}
	o.seeReplicaSets(one, map[types.UID]*appsv1.ReplicaSet{"one": one, "two": set("two", 2)})
	if _, err := o.Tally(); err == nil || !strings.Contains(err.Error(), "told to have 4 pods") {
		t.Errorf("4 of 3 pods: %v", err)
	}
}

func TestPodsByTag(t *testing.T) {
	stage := Stage{Pods: map[string]int{"one": 1, "two": 1}}
	if lacking := stage.lackingPods([]*corev1.Pod{pod("a", "one", true), pod("b", "two", true), leaving(pod("c", "one", true))}); lacking != "" {
		t.Error(lacking)
	}
	if lacking := stage.lackingPods([]*corev1.Pod{pod("a", "one", true), pod("b", "two", false)}); !strings.Contains(lacking, "not available:1") {
		t.Errorf("a pod that is not available: %q", lacking)
	}
}

func TestQuoted(t *testing.T) {
	output := Output{Args: []string{"patch", "demo", "-p", `{"full":true}`, "it's"}}
	if got, want := output.Command(), `kubectl patch demo -p '{"full":true}' 'it'\''s'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
