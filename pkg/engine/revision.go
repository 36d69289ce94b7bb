// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: architecture, "Storage and what may never happen" (what starts a revision, what is adopted),
// reference sections 1.1 (B6, B16), 4.6 (fast rollback) and 7.10 (an upgrade never starts a revision).

// Resolution is what Resolve found a template to be.
type Resolution struct {
	// Hash names the revision: the value of the hash label of its ReplicaSet.
	Hash string
	// Revision is the number that the template gets, 1 or more.
	Revision int64
	// Window is the smallest spec.rollbackWindow.revisions with which going there is a return to a recent revision,
	// which skips steps; 0 if it is none.
	Window int32
}

// Resolve finds which revision a template is: that of the ReplicaSet with a semantically equal template,
// if r controls it or may adopt it; the current one, if its template is that; else a new one with a hash that
// neither a ReplicaSet of rss has nor r knows. So no revision is ever taken for another by its hash. r is the
// Rollout as stored before the template was changed, or as it is about to be created.
func Resolve(r *rollouts.Rollout, template *corev1.PodTemplateSpec, rss []*appsv1.ReplicaSet) Resolution {
	highest := r.Status.Revision
	if highest == 0 { // On creation: ReplicaSets that an earlier Rollout left behind count on.
		for _, rs := range rss {
			if mine(r, rs) {
				highest = max(highest, revisionOf(rs))
			}
		}
	}
	if rs := findTemplate(r, template, rss); rs != nil {
		if revisionOf(rs) == highest {
			return Resolution{Hash: hashOf(rs), Revision: highest}
		}
		return Resolution{Hash: hashOf(rs), Revision: highest + 1, Window: windowFor(r, rs, rss)}
	}
	if r.Status.CurrentPodHash != "" && TemplatesEqual(template, &r.Spec.Template) { // Again, before its ReplicaSet was created.
		return Resolution{Hash: r.Status.CurrentPodHash, Revision: highest}
	}
	return Resolution{Hash: freeHash(r, template, rss), Revision: highest + 1}
}

// Created is a new Rollout with its first status: its revision is named, nothing of it was observed. author is
// who creates it; empty if that is not known.
func Created(r *rollouts.Rollout, res Resolution, author string) *rollouts.Rollout {
	out := r.DeepCopy()
	out.Status = rollouts.RolloutStatus{
		Phase:           rollouts.RolloutPhaseProgressing,
		Message:         messageNotObserved,
		CurrentPodHash:  res.Hash,
		Revision:        res.Revision,
		CurrentStepHash: stepHash(steps(r)),
		Selector:        selectorString(r),
	}
	out.Status.CurrentStepIndex = firstStep(out)
	addAuthor(&out.Status, author)
	setStanding(&out.Status, out.CreationTimestamp.Time)
	return out
}

// Edited is new with the status of old, brought up to date with a change of the spec. res says which
// revision the new template is; nil if spec.template did not change. A new template starts at the first
// step and clears an abort; changed steps, or another strategy, start at the first one too, but leave an abort: what
// was aborted goes on only by a retry or a new template. A return to a recent revision takes no steps. Either voids
// what was approved. author is who changes it; a new
// template makes them one of its authors, until a revision becomes stable: so nobody is forgotten by way
// of a detour over the stable template.
func Edited(old, new *rollouts.Rollout, res *Resolution, author string) *rollouts.Rollout {
	out := new.DeepCopy()
	out.Status = *old.Status.DeepCopy()
	st := &out.Status

	retemplated := res != nil && res.Hash != st.CurrentPodHash
	restepped := !stepsEqual(steps(old), steps(new)) || !sameStrategy(old, new)
	if retemplated {
		// The resolution may be older than this write, which then still is the newest revision.
		st.CurrentPodHash, st.Revision = res.Hash, max(res.Revision, st.Revision+1)
		st.Abort, st.AbortedAt = false, nil
		addAuthor(st, author)
	}
	if retemplated || restepped {
		clearPauses(st)
		clearPromoted(st)
		voidApprovals(st)
		st.PromoteFull = false
		if blueGreen(out) == nil {
			st.BlueGreen = nil
		}
		st.CurrentStepHash = stepHash(steps(out))
		st.CurrentStepIndex = firstStep(out)
		if skipsSteps(old, new, res) {
			st.CurrentStepIndex = lastStep(out)
		}
		setWeights(out)
	}
	restarted := retemplated || restepped && updateInFlight(out) && !st.Abort
	if restarted {
		removeCondition(st, rollouts.RolloutProgressing) // The progress deadline counts anew.
	}
	resized := replicas(old) != replicas(new) || old.Spec.MinReadySeconds != new.Spec.MinReadySeconds
	if held := findCondition(st, rollouts.RolloutHeld) != nil; !held && !new.Spec.Paused &&
		(restarted || resized && st.Phase == rollouts.RolloutPhaseHealthy) {
		st.Phase, st.Message = rollouts.RolloutPhaseProgressing, messageNotObserved
	}
	return out
}

// Collide is r with another hash for its current revision, since the name of the ReplicaSet is taken by
// one that is not its own.
func Collide(r *rollouts.Rollout) *rollouts.Rollout {
	out := r.DeepCopy()
	st := &out.Status
	taken, stable := st.CurrentPodHash, st.StableRS
	for st.CurrentPodHash == taken || st.CurrentPodHash == stable {
		st.CollisionCount = ptr.To(ptr.Deref(st.CollisionCount, 0) + 1)
		st.CurrentPodHash = templateHash(&r.Spec.Template, *st.CollisionCount)
	}
	if stable == taken {
		st.StableRS = st.CurrentPodHash // It is the same revision under another name.
	}
	return out
}

// TemplatesEqual is true if two templates are the same but for the hash label. That of a ReplicaSet is TemplateOf it.
func TemplatesEqual(a, b *corev1.PodTemplateSpec) bool {
	first, second := a.Spec, b.Spec
	first.Affinity, second.Affinity = pruned(first.Affinity), pruned(second.Affinity)
	if !apiequality.Semantic.DeepEqual(first, second) {
		return false
	}
	x, y := a.ObjectMeta.DeepCopy(), b.ObjectMeta.DeepCopy()
	delete(x.Labels, rollouts.PodTemplateHashLabel)
	delete(y.Labels, rollouts.PodTemplateHashLabel)
	return apiequality.Semantic.DeepEqual(x, y)
}

// mine is true if r controls the ReplicaSet, or may adopt it: it has no controller.
func mine(r *rollouts.Rollout, rs *appsv1.ReplicaSet) bool {
	owner := metav1.GetControllerOfNoCopy(rs)
	return owner == nil || owner.UID == r.UID
}

// findTemplate finds the ReplicaSet that runs a template: the newest, if there are several.
func findTemplate(r *rollouts.Rollout, template *corev1.PodTemplateSpec, rss []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	var found *appsv1.ReplicaSet
	for _, rs := range rss {
		leaving := rs.DeletionTimestamp != nil && hashOf(rs) != r.Status.CurrentPodHash
		if !mine(r, rs) || leaving || hashOf(rs) == "" || !TemplatesEqual(template, TemplateOf(rs)) {
			continue
		}
		if found == nil || newestFirst(rs, found) < 0 {
			found = rs
		}
	}
	return found
}

// freeHash is a hash for a template that no ReplicaSet has, nor any that r speaks of and that may be gone:
// with that of the stable revision an update would pass for a rollback, which takes no steps.
func freeHash(r *rollouts.Rollout, template *corev1.PodTemplateSpec, rss []*appsv1.ReplicaSet) string {
	taken := func(hash string) bool {
		return hash == r.Status.CurrentPodHash || hash == r.Status.StableRS || slices.ContainsFunc(rss, func(rs *appsv1.ReplicaSet) bool {
			return hashOf(rs) == hash || rs.Name == replicaSetName(r, hash)
		})
	}
	salt := ptr.Deref(r.Status.CollisionCount, 0)
	hash := templateHash(template, salt)
	for taken(hash) {
		salt++
		hash = templateHash(template, salt)
	}
	return hash
}

// templateHash names a template. It is for telling names apart only: whether two templates are the same
// revision is never decided by it.
func templateHash(template *corev1.PodTemplateSpec, salt int32) string {
	bare := *template
	bare.Labels = maps.Clone(template.Labels)
	delete(bare.Labels, rollouts.PodTemplateHashLabel)
	h := fnv.New32a()
	// The type of a template has nothing in it that cannot be encoded, and a hash writer never fails.
	_ = json.NewEncoder(h).Encode(&bare)
	if salt > 0 {
		fmt.Fprint(h, salt)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// newReplicaSet is the ReplicaSet of the current revision, with size pods.
func newReplicaSet(r *rollouts.Rollout, size int32) *appsv1.ReplicaSet {
	hash := r.Status.CurrentPodHash
	template := r.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, hash)
	selector := r.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:      replicaSetName(r, hash),
			Namespace: r.Namespace,
			Labels:    maps.Clone(template.Labels),
			Annotations: map[string]string{
				rollouts.RevisionAnnotation:        strconv.FormatInt(r.Status.Revision, 10),
				rollouts.DesiredReplicasAnnotation: strconv.Itoa(int(replicas(r))),
			},
			OwnerReferences: []metav1.OwnerReference{ownerReference(r)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To(size),
			MinReadySeconds: r.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        *template,
		},
	}
	if author := newestAuthor(&r.Status); author != "" {
		rs.Annotations[rollouts.AuthorAnnotation] = author
	}
	return withPodMetadata(r, withAntiAffinity(r, rs))
}

// ownerReference makes r the controller of an object.
func ownerReference(r *rollouts.Rollout) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion:         rollouts.GroupName + "/v1alpha1",
		Kind:               "Rollout",
		Name:               r.Name,
		UID:                r.UID,
		Controller:         ptr.To(true),
		BlockOwnerDeletion: ptr.To(true),
	}
}

func withLabel(labels map[string]string, hash string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[rollouts.PodTemplateHashLabel] = hash
	return out
}

func replicaSetName(r *rollouts.Rollout, hash string) string {
	return r.Name + "-" + hash
}

func selectorString(r *rollouts.Rollout) string {
	selector, err := metav1.LabelSelectorAsSelector(r.Spec.Selector)
	if err != nil {
		return "" // Validation lets no such selector through.
	}
	return selector.String()
}

func hashOf(rs *appsv1.ReplicaSet) string {
	return rs.Labels[rollouts.PodTemplateHashLabel]
}

// revisionOf is the newest revision that a ReplicaSet has run; 0 if it carries none that can be read.
func revisionOf(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[rollouts.RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// newestFirst orders ReplicaSets by revision, highest first, and by age and name where that is the same.
func newestFirst(a, b *appsv1.ReplicaSet) int {
	if x, y := revisionOf(a), revisionOf(b); x != y {
		return cmp.Compare(y, x)
	}
	if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
		return c
	}
	return cmp.Compare(a.Name, b.Name)
}
