// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// replicaSet is a ReplicaSet with an image, hash and revision, controlled by owner; by nobody if that is "".
func replicaSet(hash, image string, revision int64, owner types.UID) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "demo-" + hash, UID: types.UID(hash), Generation: 1,
			Labels:      map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: hash},
			Annotations: map[string]string{rollouts.RevisionAnnotation: fmt.Sprint(revision)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](0),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: hash}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
			},
		},
		Status: appsv1.ReplicaSetStatus{ObservedGeneration: 1},
	}
	if owner != "" {
		rs.OwnerReferences = []metav1.OwnerReference{{UID: owner, Kind: "Rollout", Name: "demo", Controller: ptr.To(true)}}
	}
	return rs
}

func TestResolve(t *testing.T) {
	const me, other = types.UID("me"), types.UID("other")
	deleted := replicaSet("a", "v1", 1, me)
	deleted.DeletionTimestamp = ptr.To(metav1.Now())
	for _, row := range []struct {
		rule     string
		current  string // hash
		revision int64
		rss      []*appsv1.ReplicaSet
		hash     string // "" is a new one
		want     int64
	}{
		{"the first revision is 1", "", 0, nil, "", 1},
		{"creation counts on from what an earlier Rollout left", "", 0, []*appsv1.ReplicaSet{replicaSet("a", "v0", 7, "")}, "", 8},
		{"creation takes up the newest of them that matches", "", 0, []*appsv1.ReplicaSet{replicaSet("a", "v1", 7, "")}, "a", 7},
		{"creation raises an older one that matches", "", 0, []*appsv1.ReplicaSet{replicaSet("a", "v1", 3, ""), replicaSet("b", "v0", 7, "")}, "a", 8},
		{"creation does not count what another controller owns", "", 0, []*appsv1.ReplicaSet{replicaSet("a", "v0", 7, other)}, "", 1},
		{"a new template is the next revision", "b", 2, []*appsv1.ReplicaSet{replicaSet("b", "v0", 2, me)}, "", 3},
		{"an old template is its own ReplicaSet, and the next revision", "b", 2, []*appsv1.ReplicaSet{replicaSet("b", "v0", 2, me), replicaSet("a", "v1", 1, me)}, "a", 3},
		{"the current template is no new revision", "a", 2, []*appsv1.ReplicaSet{replicaSet("a", "v1", 2, me)}, "a", 2},
		{"of two that match the newest", "c", 3, []*appsv1.ReplicaSet{replicaSet("a", "v1", 1, me), replicaSet("b", "v1", 2, me), replicaSet("c", "v0", 3, me)}, "b", 4},
		{"what another controller owns is not taken", "b", 2, []*appsv1.ReplicaSet{replicaSet("a", "v1", 1, other)}, "", 3},
		{"nor what is being deleted", "b", 2, []*appsv1.ReplicaSet{deleted}, "", 3},
	} {
		t.Run(row.rule, func(t *testing.T) {
			r := rollout(1)
			template := r.Spec.Template.DeepCopy()
			r.UID = me
			r.Status.CurrentPodHash, r.Status.Revision = row.current, row.revision
			image("stored")(&r.Spec)
			got := engine.Resolve(r, template, row.rss)
			if got.Revision != row.want || row.hash != "" && got.Hash != row.hash {
				t.Errorf("got %+v, want %s, %d", got, row.hash, row.want)
			}
			for _, rs := range row.rss {
				if row.hash == "" && got.Hash == rs.Labels[rollouts.PodTemplateHashLabel] {
					t.Errorf("hash %s is taken", got.Hash)
				}
			}
		})
	}
}

// TestResolveAgainBeforeTheReplicaSetExists: the same manifest twice, quicker than the controller.
func TestResolveAgainBeforeTheReplicaSetExists(t *testing.T) {
	r := rollout(1)
	first := engine.Resolve(r, &r.Spec.Template, nil)
	created := engine.Created(r, first, "author")
	if again := engine.Resolve(created, &r.Spec.Template, nil); again != first {
		t.Errorf("got %+v, then %+v", first, again)
	}
}

// TestHashCollision: a hash that a ReplicaSet of another template has is not given again.
func TestHashCollision(t *testing.T) {
	r := rollout(1)
	hash := engine.Resolve(r, &r.Spec.Template, nil).Hash
	taken := replicaSet(hash, "something else", 1, "")
	if got := engine.Resolve(r, &r.Spec.Template, []*appsv1.ReplicaSet{taken}).Hash; got == hash {
		t.Error("the hash of another template was given again")
	}
	created := engine.Created(r, engine.Resolution{Hash: hash, Revision: 1}, "author")
	once := engine.Collide(created)
	twice := engine.Collide(once)
	if once.Status.CurrentPodHash == hash || twice.Status.CurrentPodHash == once.Status.CurrentPodHash || twice.Status.CurrentPodHash == hash {
		t.Error("a collision leads to no new name")
	}
	if *twice.Status.CollisionCount != 2 || created.Status.CollisionCount != nil {
		t.Error("collisions are not counted, or the input was changed")
	}
}

// TestAHashIsNoProofOfATemplate: a template whose hash is that of the current or of the stable revision is another
// revision all the same, though no ReplicaSet is there that would tell. Its author could choose the template so, and
// would be no author of the current revision, or roll back to what was never there.
func TestAHashIsNoProofOfATemplate(t *testing.T) {
	template := rollout(1).Spec.Template
	hash := engine.Resolve(rollout(1), &template, nil).Hash
	for role, status := range map[string]rollouts.RolloutStatus{
		"current": {CurrentPodHash: hash, StableRS: "stable", Revision: 2},
		"stable":  {CurrentPodHash: "current", StableRS: hash, Revision: 2},
	} {
		r := rollout(1, weight(20), approval(1))
		image("other")(&r.Spec)
		r.Status = status
		got := engine.Resolve(r, &template, nil)
		if got.Hash == hash || got.Revision != 3 {
			t.Errorf("%s: got %+v", role, got)
		}
		edited := r.DeepCopy()
		edited.Spec.Template = template
		if st := engine.Edited(r, edited, &got, "mallory").Status; *st.CurrentStepIndex != 0 || st.CurrentPodHash == st.StableRS || st.TemplateAuthors == nil {
			t.Errorf("%s: %+v", role, st)
		}
	}
}

// TestANewNameIsNotThatOfTheStableRevision, whatever it would come to.
func TestANewNameIsNotThatOfTheStableRevision(t *testing.T) {
	r := rollout(1)
	r.Status.CurrentPodHash = engine.Resolve(r, &r.Spec.Template, nil).Hash
	r.Status.StableRS = engine.Collide(r).Status.CurrentPodHash
	if st := engine.Collide(r).Status; st.CurrentPodHash == st.StableRS {
		t.Errorf("both are %s", st.StableRS)
	}
}

func TestTemplatesEqual(t *testing.T) {
	base := func() *corev1.PodTemplateSpec {
		template := replicaSet("a", "v1", 1, "").Spec.Template.DeepCopy()
		template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1")}
		return template
	}
	for _, row := range []struct {
		rule   string
		change func(*corev1.PodTemplateSpec)
		equal  bool
	}{
		{"the same", func(*corev1.PodTemplateSpec) {}, true},
		{"the hash label is ignored", func(t *corev1.PodTemplateSpec) { t.Labels[rollouts.PodTemplateHashLabel] = "b" }, true},
		{"its absence too", func(t *corev1.PodTemplateSpec) { delete(t.Labels, rollouts.PodTemplateHashLabel) }, true},
		{"nil and empty are the same", func(t *corev1.PodTemplateSpec) { t.Annotations = map[string]string{} }, true},
		{"a quantity written differently is the same", func(t *corev1.PodTemplateSpec) {
			t.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("1000m")
		}, true},
		{"another label", func(t *corev1.PodTemplateSpec) { t.Labels["app"] = "other" }, false},
		{"another annotation", func(t *corev1.PodTemplateSpec) { t.Annotations = map[string]string{"a": "b"} }, false},
		{"another image", func(t *corev1.PodTemplateSpec) { t.Spec.Containers[0].Image = "v2" }, false},
	} {
		other := base()
		row.change(other)
		if got := engine.TemplatesEqual(base(), other); got != row.equal {
			t.Errorf("%s: got %t", row.rule, got)
		}
	}
}

// TestCreated is the status that a new Rollout is stored with.
func TestCreated(t *testing.T) {
	w := newWorld(t, rollout(3, weight(20), pause("")))
	st := w.Rollout.Status
	w.is(rollouts.RolloutPhaseProgressing, "waiting for rollout spec update to be observed")
	w.step(2) // a first deployment takes no steps
	w.conditions("False True False")
	if st.ObservedGeneration != 0 || st.Revision != 1 || st.CurrentPodHash == "" || st.StableRS != "" || st.CurrentStepHash == "" || st.Selector != "app=demo" {
		t.Errorf("%+v", st)
	}
}

// TestEditedKeepsRevisionsRising: a resolution that was made before another write of the template was stored
// is the newest revision all the same.
func TestEditedKeepsRevisionsRising(t *testing.T) {
	w := deployed(t, rollout(1))
	stale := engine.Resolve(w.Rollout, &corev1.PodTemplateSpec{}, w.ReplicaSets())
	w.edit("v2", image("v2"))
	if got := engine.Edited(w.Rollout, w.Rollout, &stale, "author").Status.Revision; got != 3 {
		t.Errorf("revision %d, want 3", got)
	}
}

// TestRevisionTakenOffByHand is put back, and is no rollback.
func TestRevisionTakenOffByHand(t *testing.T) {
	w := deployed(t, rollout(2))
	w.events("NewReplicaSetCreated RolloutCompleted")
	bare := w.ReplicaSets()[0].DeepCopy()
	delete(bare.Annotations, rollouts.RevisionAnnotation)
	w.Remove(w.ReplicaSets()[0], true)
	w.Place(bare)
	w.settle()
	w.events("NewReplicaSetCreated RolloutCompleted")
	if got := w.ReplicaSets()[0].Annotations[rollouts.RevisionAnnotation]; got != "1" {
		t.Errorf("revision %q, want 1", got)
	}
}
