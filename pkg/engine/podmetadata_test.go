// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// roleMetadata is a label named role, with an annotation besides that only this role has.
func roleMetadata(role string) *rollouts.PodTemplateMetadata {
	return &rollouts.PodTemplateMetadata{Labels: map[string]string{"role": role}, Annotations: map[string]string{"only-" + role: "yes"}}
}

// withMetadata tells the pods of a canary apart by their role.
func withMetadata(r *rollouts.Rollout) *rollouts.Rollout {
	r.Spec.Strategy.Canary.StableMetadata, r.Spec.Strategy.Canary.CanaryMetadata = roleMetadata("stable"), roleMetadata("canary")
	return r
}

// roles checks the labels and annotations of the pods of each revision, oldest ReplicaSet first, and of the template
// that the next ones are made of: "stable canary"; "-" is no role, and a revision without pods is not looked at.
func (w *world) roles(want string) {
	w.t.Helper()
	for i, role := range strings.Fields(want) {
		rs := w.ReplicaSets()[i]
		seen := []simulator.Pod{{Labels: rs.Spec.Template.Labels, Annotations: rs.Spec.Template.Annotations}}
		for _, p := range w.PodsOf(rs) {
			seen = append(seen, *p)
		}
		if len(seen) == 1 {
			continue
		}
		for _, p := range seen {
			if got := roleOf(p); got != role {
				w.t.Errorf("%s has a pod with the role %q, want %q", rs.Name, got, role)
			}
		}
	}
}

func roleOf(p simulator.Pod) string {
	role, has := p.Labels["role"]
	if !has {
		role = "-"
	}
	for _, other := range []string{"stable", "canary"} {
		if _, has := p.Annotations["only-"+other]; has != (other == role) {
			return fmt.Sprintf("%s with annotations %v", role, p.Annotations)
		}
	}
	return role
}

// Pods are told apart by their role, in place, through all that can happen to an update.
func TestPodMetadata(t *testing.T) {
	for _, test := range []struct {
		name   string
		happen func(w *world)
		roles  string
	}{
		{"in the middle", func(*world) {}, "stable canary"},
		{"promoted", func(w *world) { w.must(w.Promote(true)) }, "- stable"},
		{"aborted", func(w *world) { w.must(w.Abort()) }, "stable -"},
		{"rolled back", func(w *world) { w.edit("back", image("v1")) }, "stable -"},
		{"a third revision", func(w *world) { w.edit("v3", image("v3")) }, "stable - canary"},
		{"a third one that does not run", func(w *world) { w.edit("bad", image("bad")) }, "stable - canary"},
		{"forth and back", func(w *world) { w.edit("v3", image("v3")); w.settle(); w.edit("v2", image("v2")) }, "stable canary -"},
		{"paused by hand", func(w *world) { w.must(w.Pause()) }, "stable canary"},
		{"asked for no more", func(w *world) {
			w.edit("none", func(spec *rollouts.RolloutSpec) {
				spec.Strategy.Canary.StableMetadata, spec.Strategy.Canary.CanaryMetadata = nil, nil
			})
		}, "- -"},
		{"asked for otherwise", func(w *world) {
			w.edit("other", func(spec *rollouts.RolloutSpec) {
				spec.Strategy.Canary.StableMetadata, spec.Strategy.Canary.CanaryMetadata = roleMetadata("canary"), roleMetadata("stable")
			})
		}, "canary stable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := deployed(t, bounded(withMetadata(rollout(4, weight(50), pause(""))), "1", "1"))
			w.roles("stable")
			if w.Written.Pods != 0 {
				t.Errorf("%d pods were written, though all were made as they should be", w.Written.Pods)
			}
			w.update("v2")
			w.roles("stable canary")
			test.happen(w)
			w.settle()
			w.roles(test.roles)
			before := w.Written
			w.Sleep(time.Hour)
			w.settle()
			if w.Written != before {
				t.Errorf("written in a steady state: %+v, before %+v", w.Written, before)
			}
		})
	}
}

// A change of metadata is one write to each ReplicaSet and pod, and recreates none.
func TestPodMetadataIsChangedInPlace(t *testing.T) {
	w := deployed(t, rollout(3, weight(50), pause("")))
	had := (&machine{Cluster: w.Cluster}).serials(w.Rollout.Status.StableRS)
	before := w.Written
	w.edit("metadata", func(spec *rollouts.RolloutSpec) { withMetadata(&rollouts.Rollout{Spec: *spec}) })
	w.settle()
	w.roles("stable")
	if got := (&machine{Cluster: w.Cluster}).serials(w.Rollout.Status.StableRS); !apiequality.Semantic.DeepEqual(got, had) {
		t.Errorf("pods %v became %v", had, got)
	}
	if sets, pods := w.Written.ReplicaSets-before.ReplicaSets, w.Written.Pods-before.Pods; sets != 1 || pods != 3 {
		t.Errorf("%d writes to ReplicaSets and %d to pods, want 1 and 3", sets, pods)
	}
	if w.Rollout.Status.Revision != 1 {
		t.Errorf("it became revision %d", w.Rollout.Status.Revision)
	}
}

// What fails between the writes is done at the next decision: no key stays behind on a pod.
func TestPodMetadataSurvivesACrash(t *testing.T) {
	for writes := range 6 {
		w := deployed(t, bounded(withMetadata(rollout(3, weight(50), pause(""))), "1", "1"))
		w.edit("none", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.StableMetadata = nil })
		s := w.Snapshot()
		_ = w.Apply(s, engine.Decide(s), writes)
		w.settle()
		w.roles("-")
	}
}

// A key of the user's own template comes back when it is not hidden any more, and is in the template all along for
// comparisons and undo.
func TestPodMetadataHidesTheUsersOwn(t *testing.T) {
	r := rollout(2)
	r.Spec.Template.Labels = map[string]string{"app": "demo", "role": "mine"}
	r.Spec.RollbackWindow = &rollouts.RollbackWindow{}
	w := deployed(t, withMetadata(r))
	w.roles("stable")
	first := w.ReplicaSets()[0]
	if got := engine.TemplateOf(first); !engine.TemplatesEqual(got, &w.Rollout.Spec.Template) || got.Labels["role"] != "mine" {
		t.Errorf("the template of the ReplicaSet is %+v", got.ObjectMeta)
	}
	w.update("v2")
	w.must(w.Undo(1))
	w.settle()
	if got := w.Rollout.Spec.Template.Labels; got["role"] != "mine" || len(got) != 2 || len(w.ReplicaSets()) != 2 {
		t.Errorf("undone to labels %v, %d ReplicaSets", got, len(w.ReplicaSets()))
	}
	w.edit("none", func(spec *rollouts.RolloutSpec) { spec.Strategy.Canary.StableMetadata = nil })
	w.settle()
	w.roles("mine")
}

// An annotation that says nothing readable counts as none.
func TestPodMetadataThatCannotBeRead(t *testing.T) {
	w := deployed(t, rollout(1))
	rs := w.ReplicaSets()[0].DeepCopy()
	rs.Annotations[rollouts.PodMetadataAnnotation] = "{"
	if got := engine.TemplateOf(rs); !engine.TemplatesEqual(got, &w.Rollout.Spec.Template) {
		t.Errorf("the template is %+v", got)
	}
}

// The roles of blueGreen go by the revision that activeService leads to: as the ReplicaSet of a new revision is made.
func TestPodMetadataOfBlueGreen(t *testing.T) {
	r := rollout(1)
	r.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{
		ActiveService: "active", ActiveMetadata: roleMetadata("active"), PreviewMetadata: roleMetadata("preview"),
	}}
	for name, test := range map[string]struct {
		stable, led, want string
	}{
		"the first revision":    {"", "", "active"},
		"an update":             {"old", "", "preview"},
		"before the switch":     {"old", "old", "preview"},
		"after the switch":      {"old", "new", "active"},
		"with no Service there": {"old", "-", "preview"},
	} {
		at := r.DeepCopy()
		at.Status = rollouts.RolloutStatus{Revision: 1, CurrentPodHash: "new", StableRS: test.stable}
		s := engine.Snapshot{Rollout: at, Now: start}
		if test.led != "-" {
			s.Services = []*corev1.Service{{
				ObjectMeta: metav1.ObjectMeta{Name: "active", Annotations: map[string]string{rollouts.ManagedByRolloutAnnotation: at.Name}},
				Spec:       corev1.ServiceSpec{Selector: map[string]string{rollouts.PodTemplateHashLabel: test.led}},
			}}
		}
		if d := engine.Decide(s); d.Create == nil || d.Create.Spec.Template.Labels["role"] != test.want {
			t.Errorf("%s: created %+v, want the role %s", name, d.Create, test.want)
		}
	}
}
