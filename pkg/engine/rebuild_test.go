// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// remaining is a ReplicaSet that a lost Rollout of so many replicas has left.
func remaining(hash string, revision int64, pods, desired int32, annotations ...string) *appsv1.ReplicaSet {
	rs := replicaSet(hash, "app:"+hash, revision, "lost")
	rs.Spec.Replicas, rs.Status.Replicas, rs.Status.AvailableReplicas = ptr.To(pods), pods, pods
	rs.Status.ReadyReplicas, rs.Status.ObservedGeneration = pods, rs.Generation
	rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: hash}}
	rs.Annotations[rollouts.DesiredReplicasAnnotation] = strconv.Itoa(int(desired))
	for i := 0; i < len(annotations); i += 2 {
		rs.Annotations[annotations[i]] = annotations[i+1]
	}
	return rs
}

const at = "2026-01-02T03:04:05Z"

func TestRebuild(t *testing.T) {
	promoted := []string{rollouts.OutcomeAnnotation, rollouts.OutcomePromoted}
	aborted := []string{rollouts.OutcomeAnnotation, rollouts.OutcomeAborted, rollouts.OutcomeTimeAnnotation, at}
	for name, c := range map[string]struct {
		sets            []*appsv1.ReplicaSet
		current, stable string
		revision        int64
		step, replicas  int32
		abort           bool
		unknown         string
	}{
		"the first revision": {
			sets: []*appsv1.ReplicaSet{remaining("a", 1, 3, 3)}, current: "a", stable: "a", revision: 1, step: 2, replicas: 3},
		"a first revision that never was available has nothing to go back to": {
			sets: []*appsv1.ReplicaSet{unavailable(remaining("a", 1, 3, 3))}, current: "a", revision: 1, step: 2, replicas: 3},
		"an update that was completed": {
			sets: []*appsv1.ReplicaSet{remaining("a", 1, 0, 3, promoted...), remaining("b", 2, 3, 3)}, current: "b", stable: "b", revision: 2, step: 2, replicas: 3},
		"an update under way": {
			sets: []*appsv1.ReplicaSet{remaining("a", 1, 2, 3, promoted...), remaining("b", 2, 1, 3)}, current: "b", stable: "a", revision: 2, replicas: 3,
			unknown: "an update was under way"},
		"an update that stable pods were not yet taken for": {
			sets: []*appsv1.ReplicaSet{remaining("a", 1, 3, 3), remaining("b", 2, 1, 3)}, current: "b", stable: "a", revision: 2, replicas: 3,
			unknown: "an update was under way"},
		"of two with pods the one that was stable": {
			sets:    []*appsv1.ReplicaSet{remaining("a", 1, 1, 3, promoted...), remaining("b", 2, 2, 3), remaining("c", 3, 1, 3)},
			current: "c", stable: "a", revision: 3, replicas: 3, unknown: "an update was under way"},
		"an aborted update": {
			sets: []*appsv1.ReplicaSet{remaining("a", 1, 3, 3, promoted...), remaining("b", 2, 0, 3, aborted...)}, current: "b", stable: "a", revision: 2, replicas: 3,
			abort: true, unknown: "an update was under way"},
		"an abort that was not finished moves nothing by itself": {
			sets: []*appsv1.ReplicaSet{remaining("a", 1, 2, 3, promoted...), remaining("b", 2, 1, 3, aborted...)}, current: "b", stable: "a", revision: 2, replicas: 3,
			unknown: "abort it again"},
		"back to the first revision": {
			sets: []*appsv1.ReplicaSet{remaining("a", 3, 3, 3, promoted...), remaining("b", 2, 0, 3)}, current: "a", stable: "a", revision: 3, step: 2, replicas: 3},
		"the blue pods that are kept for a while after the switch": {
			sets:    []*appsv1.ReplicaSet{remaining("a", 1, 3, 3, rollouts.ScaleDownDeadlineAnnotation, at), remaining("b", 2, 3, 3)},
			current: "b", stable: "b", revision: 2, step: 2, replicas: 3},
	} {
		t.Run(name, func(t *testing.T) {
			steps := rollouts.RolloutSpec{Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{weight(20), pause("")}}}}
			owner := engine.OwnerOfReplicaSets{UID: "lost", Namespace: "shop", Name: "cart"}
			r, unknown, err := engine.Rebuild(engine.Remains{Owner: owner, ReplicaSets: c.sets, Spec: func(*appsv1.ReplicaSet) *rollouts.RolloutSpec { return &steps }}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			st := r.Status
			if r.UID != "lost" || r.Namespace != "shop" || r.Name != "cart" || !r.Spec.Paused {
				t.Errorf("it is %s/%s, uid %s, paused %v", r.Namespace, r.Name, r.UID, r.Spec.Paused)
			}
			if st.CurrentPodHash != c.current || st.StableRS != c.stable || st.Revision != c.revision || *st.CurrentStepIndex != c.step || *r.Spec.Replicas != c.replicas || st.Abort != c.abort {
				t.Errorf("current %s, stable %q, revision %d, step %d, replicas %d, aborted %v", st.CurrentPodHash, st.StableRS, st.Revision, *st.CurrentStepIndex, *r.Spec.Replicas, st.Abort)
			}
			if image := r.Spec.Template.Spec.Containers[0].Image; image != "app:"+c.current {
				t.Errorf("it runs %s", image)
			}
			if c.unknown != "" && !strings.Contains(strings.Join(unknown, ";"), c.unknown) {
				t.Errorf("unknown is %q, want %q", unknown, c.unknown)
			}
			staysPut(t, r, c.sets)
		})
	}
}

// staysPut fails the test unless nothing is created, scaled, adopted or deleted.
func staysPut(t *testing.T, r *rollouts.Rollout, sets []*appsv1.ReplicaSet) {
	t.Helper()
	for range 3 { // A status that has to be written first is.
		d := engine.Decide(engine.Snapshot{Rollout: r, ReplicaSets: sets, Now: time.Now()})
		for _, change := range d.Scale {
			for _, rs := range sets {
				if rs.Name == change.Name && *rs.Spec.Replicas != change.Replicas {
					t.Errorf("%s is scaled from %d to %d", rs.Name, *rs.Spec.Replicas, change.Replicas)
				}
			}
		}
		if d.Create != nil || len(d.Adopt)+len(d.Delete)+len(d.Evict) > 0 {
			t.Errorf("created %v, adopted %v, deleted %v, evicted %v", d.Create, d.Adopt, d.Delete, d.Evict)
		}
		if d.Status == nil {
			return
		}
		r = r.DeepCopy()
		r.Status = *d.Status
	}
}

func unavailable(rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	rs.Status.AvailableReplicas = 0
	return rs
}

func TestRebuildWithoutTheSpec(t *testing.T) {
	none := func(*appsv1.ReplicaSet) *rollouts.RolloutSpec { return nil }
	owner := engine.OwnerOfReplicaSets{UID: "lost", Namespace: "shop", Name: "cart"}
	r, unknown, err := engine.Rebuild(engine.Remains{Owner: owner, ReplicaSets: []*appsv1.ReplicaSet{remaining("a", 1, 3, 3)}, Spec: none}, time.Now())
	if err != nil || r.Spec.Strategy.Canary == nil || !slices.ContainsFunc(unknown, func(s string) bool { return strings.Contains(s, "strategy is not known") }) {
		t.Errorf("got %+v, unknown %q; %v", r, unknown, err)
	}
	referring := remaining("a", 1, 3, 3, rollouts.WorkloadTemplateAnnotation, "digest")
	if _, _, err := engine.Rebuild(engine.Remains{Owner: owner, ReplicaSets: []*appsv1.ReplicaSet{referring}, Spec: none}, time.Now()); err == nil {
		t.Error("the template of some Deployment was taken for that of the Rollout")
	}
	forged := remaining("a", 0, 3, 3)
	if _, _, err := engine.Rebuild(engine.Remains{Owner: owner, ReplicaSets: []*appsv1.ReplicaSet{forged}, Spec: none}, time.Now()); err == nil {
		t.Error("a ReplicaSet without a revision was taken for one of ours")
	}
}

func TestBringUp(t *testing.T) {
	stored := func(change func(*rollouts.Rollout)) *rollouts.Rollout {
		r := &rollouts.Rollout{}
		r.Name, r.UID, r.Generation = "cart", "lost", 4
		r.Spec.Replicas = ptr.To[int32](3)
		r.Spec.Strategy.Canary = &rollouts.CanaryStrategy{}
		r.Spec.Template = *engine.TemplateOf(remaining("a", 1, 3, 3))
		r.Spec.Selector = remaining("a", 1, 3, 3).Spec.Selector.DeepCopy()
		r.Status.CurrentPodHash, r.Status.StableRS, r.Status.Revision = "a", "a", 1
		if change != nil {
			change(r)
		}
		return r
	}
	for name, c := range map[string]struct {
		stored   *rollouts.Rollout
		sets     []*appsv1.ReplicaSet
		change   string
		paused   bool
		replicas int32
	}{
		"as it was":                              {stored(nil), []*appsv1.ReplicaSet{remaining("a", 1, 3, 3)}, "", false, 3},
		"scaled since":                           {stored(nil), []*appsv1.ReplicaSet{remaining("a", 1, 5, 5)}, "spec.replicas is 5", false, 5},
		"updated since":                          {stored(nil), []*appsv1.ReplicaSet{remaining("a", 1, 0, 3), remaining("b", 2, 3, 3)}, "held", false, 3},
		"deleted since":                          {stored(nil), nil, "no ReplicaSet in the cluster", true, 3},
		"without pods, it needs no ReplicaSet":   {stored(func(r *rollouts.Rollout) { r.Spec.Replicas = ptr.To[int32](0) }), nil, "", false, 0},
		"an update that may have come further":   {stored(func(r *rollouts.Rollout) { r.Status.CurrentPodHash, r.Status.Revision = "b", 2 }), []*appsv1.ReplicaSet{remaining("a", 1, 1, 3), remaining("b", 2, 2, 3)}, "update was under way", true, 3},
		"an update that is paused is paused":     {stored(func(r *rollouts.Rollout) { r.Status.CurrentPodHash, r.Status.Revision, r.Spec.Paused = "b", 2, true }), []*appsv1.ReplicaSet{remaining("a", 1, 1, 3), remaining("b", 2, 2, 3)}, "", true, 3},
		"one that is being deleted goes its way": {stored(func(r *rollouts.Rollout) { r.DeletionTimestamp = ptr.To(r.CreationTimestamp) }), nil, "", false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r, changes := engine.BringUp(c.stored, c.sets)
			if got := strings.Join(changes, ";"); c.change == "" && got != "" || !strings.Contains(got, c.change) {
				t.Errorf("changed is %q, want %q", got, c.change)
			}
			if r.Spec.Paused != c.paused || *r.Spec.Replicas != c.replicas {
				t.Errorf("paused %v, replicas %d", r.Spec.Paused, *r.Spec.Replicas)
			}
			if changed := r.Generation != c.stored.Generation; changed != (r != c.stored) {
				t.Errorf("changed %v, and its generation is %d", changed, r.Generation)
			}
			if r.DeletionTimestamp == nil && !strings.HasPrefix(c.change, "no ReplicaSet") && *r.Spec.Replicas > 0 {
				staysPut(t, r, c.sets)
			}
		})
	}
}
