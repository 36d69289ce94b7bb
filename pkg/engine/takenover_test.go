// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// takenOver is a ReplicaSet as 'kubectl sluice migrate --live' leaves it: made by Argo Rollouts, controlled by nobody,
// with our label beside Argo's, which alone is in its selector.
func takenOver(hash, image string, revision int64, pods int32) *appsv1.ReplicaSet {
	rs := replicaSet(hash, image, revision, "")
	rs.Spec.Replicas = ptr.To(pods)
	rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "demo", rollouts.ArgoPodTemplateHashLabel: hash}}
	rs.Labels[rollouts.ArgoPodTemplateHashLabel] = hash
	rs.Spec.Template.Labels[rollouts.ArgoPodTemplateHashLabel] = hash
	return rs
}

func TestTemplateOf(t *testing.T) {
	plain := map[string]string{"app": "demo"}
	marked := map[string]string{"app": "demo", rollouts.ArgoPodTemplateHashLabel: "a"}
	for _, row := range []struct {
		rule     string
		selector *metav1.LabelSelector
		template map[string]string
		want     map[string]string
	}{
		{"our label is not in it", nil, map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: "a"}, plain},
		{"nor is Argo's, where it is in the selector in place of ours", &metav1.LabelSelector{MatchLabels: marked}, marked, plain},
		{"but it is where somebody writes it into a template of ours",
			&metav1.LabelSelector{MatchLabels: map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: "b"}}, marked, marked},
		{"even if it is in the selector as well",
			&metav1.LabelSelector{MatchLabels: map[string]string{rollouts.ArgoPodTemplateHashLabel: "a", rollouts.PodTemplateHashLabel: "b"}}, marked, marked},
	} {
		rs := replicaSet("a", "v1", 1, "")
		rs.Spec.Selector, rs.Spec.Template.Labels = row.selector, maps.Clone(row.template)
		if got := engine.TemplateOf(rs).Labels; !maps.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", row.rule, got, row.want)
		}
		if !maps.Equal(rs.Spec.Template.Labels, row.template) {
			t.Errorf("%s: the ReplicaSet was changed", row.rule)
		}
	}
}

// TestTakenOverFromArgo: a Rollout that is created over the ReplicaSets of Argo Rollouts adopts them as they are,
// creates none, and counts on from their revisions. Updates and undos work on them as on its own.
func TestTakenOverFromArgo(t *testing.T) {
	r := rollout(4, twoSteps...)
	running, old := takenOver("running", "v1", 7, 4), takenOver("old", "v0", 6, 0)
	if got := engine.Resolve(r, &r.Spec.Template, []*appsv1.ReplicaSet{old, running}); got != (engine.Resolution{Hash: "running", Revision: 7}) {
		t.Fatalf("the template is taken for %+v", got)
	}
	w := newWorld(t, r)
	w.Place(old)
	w.Place(running)
	w.SyncAll()
	for range 3 { // Its pods become available.
		w.Sleep(time.Second)
		w.SyncAll()
	}
	pods := w.Available(w.Find("running"))
	if pods != 4 {
		t.Fatalf("%d pods run before", pods)
	}
	lost := false
	w.OnWrite = func(_, after *appsv1.ReplicaSet) {
		lost = lost || after == nil || w.Available(w.Find("running")) < 4
	}
	w.settle()
	w.OnWrite = nil
	w.is(rollouts.RolloutPhaseHealthy, "")
	st := w.Rollout.Status
	if lost || len(w.ReplicaSets()) != 2 || st.CurrentPodHash != "running" || st.StableRS != "running" {
		t.Fatalf("lost a pod: %v; %d ReplicaSets, current %s, stable %s", lost, len(w.ReplicaSets()), st.CurrentPodHash, st.StableRS)
	}

	w.update("v2")
	w.must(w.Promote(true))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 0 4")
	w.must(w.Undo(0))
	if labels := w.Rollout.Spec.Template.Labels; !maps.Equal(labels, map[string]string{"app": "demo"}) {
		t.Errorf("the template that was put back has the labels %v", labels)
	}
	if got := w.Rollout.Status.CurrentPodHash; got != "running" {
		t.Errorf("undone to %s", got)
	}
	w.settle()
	w.must(w.Promote(true))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.pods("0 4 0")
	w.must(w.Undo(6))
	w.settle()
	w.must(w.Promote(true))
	w.settle()
	w.pods("4 0 0")
	if n := len(w.ReplicaSets()); n != 3 {
		t.Errorf("%d ReplicaSets", n)
	}
}
