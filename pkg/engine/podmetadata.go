// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.2 (C10, C11) and 1.5 (G12).

// LooksAtPods is true if Decide reads the metadata of pods: something is to be put on them, or was. Whoever makes
// a Snapshot may leave Pods out otherwise, unless a restart is in progress.
func LooksAtPods(r *rollouts.Rollout, rss []*appsv1.ReplicaSet) bool {
	if canary := r.Spec.Strategy.Canary; canary != nil && (canary.CanaryMetadata != nil || canary.StableMetadata != nil) {
		return true
	}
	if blueGreen := r.Spec.Strategy.BlueGreen; blueGreen != nil && (blueGreen.ActiveMetadata != nil || blueGreen.PreviewMetadata != nil) {
		return true
	}
	return slices.ContainsFunc(rss, func(rs *appsv1.ReplicaSet) bool { return rs.Annotations[rollouts.PodMetadataAnnotation] != "" })
}

// putOnPods is what PodMetadataAnnotation holds, as JSON: what was put into the template of a ReplicaSet besides the
// user's own.
type putOnPods struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// OwnLabels and OwnAnnotations are those of the user's template that are hidden by others of the same name.
	OwnLabels      map[string]string `json:"ownLabels,omitempty"`
	OwnAnnotations map[string]string `json:"ownAnnotations,omitempty"`
	// PastLabels and PastAnnotations are the names of what was put there before, and is to be found on no pod any more:
	// so that a write which fails in between leaves nothing behind.
	PastLabels      []string `json:"pastLabels,omitempty"`
	PastAnnotations []string `json:"pastAnnotations,omitempty"`
}

// putOn reads what was put into the template of a ReplicaSet; nothing, if that cannot be read.
func putOn(rs *appsv1.ReplicaSet) putOnPods {
	var put putOnPods
	if text := rs.Annotations[rollouts.PodMetadataAnnotation]; text != "" && json.Unmarshal([]byte(text), &put) != nil {
		return putOnPods{}
	}
	return put
}

// text is what the annotation says; empty if nothing is put there, nor ever was.
func (p putOnPods) text() string {
	// Nothing of it cannot be encoded. The names are in the same order each time.
	text, _ := json.Marshal(p)
	if string(text) == "{}" {
		return ""
	}
	return string(text)
}

// takeOut takes what was put into a template out of it again.
func (p putOnPods) takeOut(template *metav1.ObjectMeta) {
	template.Labels = takenOut(template.Labels, p.Labels, p.OwnLabels)
	template.Annotations = takenOut(template.Annotations, p.Annotations, p.OwnAnnotations)
}

func takenOut(from, put, own map[string]string) map[string]string {
	if len(put) == 0 {
		return from
	}
	out := map[string]string{}
	maps.Copy(out, from)
	for key := range put {
		delete(out, key)
	}
	maps.Copy(out, own)
	if len(out) == 0 {
		return nil
	}
	return out
}

// putting is what is recorded when metadata is put into a template that is the user's own but for what was put there.
func (p putOnPods) putting(own metav1.ObjectMeta, metadata *rollouts.PodTemplateMetadata) putOnPods {
	m := ptr.Deref(metadata, rollouts.PodTemplateMetadata{})
	return putOnPods{
		Labels: m.Labels, Annotations: m.Annotations,
		OwnLabels: only(own.Labels, m.Labels), OwnAnnotations: only(own.Annotations, m.Annotations),
		PastLabels:      past(p.PastLabels, p.Labels, m.Labels),
		PastAnnotations: past(p.PastAnnotations, p.Annotations, m.Annotations),
	}
}

// only is what of a map has a name that is in another.
func only(of, in map[string]string) map[string]string {
	var out map[string]string
	for key, value := range of {
		if _, has := in[key]; has {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}

// past are the names of what was put before, and is not now.
func past(names []string, was, is map[string]string) []string {
	all := slices.Concat(names, slices.Collect(maps.Keys(was)))
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(key string) bool { _, has := is[key]; return has })
}

// metadataFor is what the strategy puts on the pods of the revision with a hash; nil if that is nothing. A first
// revision is on its way to be the stable one, and has nobody beside it to be told from.
func metadataFor(r *rollouts.Rollout, hash string) *rollouts.PodTemplateMetadata {
	st := &r.Status
	canary, blueGreen := r.Spec.Strategy.Canary, r.Spec.Strategy.BlueGreen
	switch {
	case canary != nil && (hash == st.StableRS || hash == st.CurrentPodHash && st.StableRS == ""):
		return canary.StableMetadata
	case canary != nil && hash == st.CurrentPodHash:
		return canary.CanaryMetadata
	case blueGreen == nil:
		return nil
	}
	active := st.StableRS
	if st.BlueGreen != nil && st.BlueGreen.ActiveSelector != "" {
		active = st.BlueGreen.ActiveSelector
	}
	switch {
	case hash == active, hash == st.CurrentPodHash && active == "":
		return blueGreen.ActiveMetadata
	case hash == st.CurrentPodHash:
		return blueGreen.PreviewMetadata
	default:
		return nil
	}
}

// withPodMetadata puts what the strategy asks for into the template of a ReplicaSet that is about to be made.
func withPodMetadata(r *rollouts.Rollout, rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	template := &rs.Spec.Template.ObjectMeta
	put := putOnPods{}.putting(*template, metadataFor(r, hashOf(rs)))
	if text := put.text(); text != "" {
		rs.Annotations[rollouts.PodMetadataAnnotation] = text
		template.Labels = merged(template.Labels, put.Labels)
		template.Annotations = merged(template.Annotations, put.Annotations)
	}
	return rs
}

// merged is a copy of two maps, of which the second wins.
func merged(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := map[string]string{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// putMetadata decides what is to be changed of the metadata of the pods of a ReplicaSet: of its template, with what
// notes record of that, and of each pod that there is, in place. The change of the template is nil if it stays.
func (d *decider) putMetadata(rs *appsv1.ReplicaSet, notes map[string]string) *MetadataChange {
	was := putOn(rs)
	own := rs.Spec.Template.ObjectMeta.DeepCopy()
	was.takeOut(own)
	put := was.putting(*own, metadataFor(d.rollout, hashOf(rs)))
	text := put.text()
	if text == "" && rs.Annotations[rollouts.PodMetadataAnnotation] == "" {
		return nil
	}
	for _, pod := range d.podsOf(rs) {
		if change := put.changeOf(pod.ObjectMeta, *own); change != nil {
			d.out.Pods = append(d.out.Pods, PodChange{PodRef: PodRef{Name: pod.Name, UID: pod.UID}, MetadataChange: *change})
		}
	}
	if text != rs.Annotations[rollouts.PodMetadataAnnotation] {
		notes[rollouts.PodMetadataAnnotation] = text
	}
	return put.changeOf(rs.Spec.Template.ObjectMeta, *own)
}

// changeOf is what is to be changed of metadata for it to be the user's own with what is put there; nil if nothing is.
func (p putOnPods) changeOf(is, own metav1.ObjectMeta) *MetadataChange {
	var c MetadataChange
	c.SetLabels, c.RemoveLabels = difference(is.Labels, own.Labels, p.Labels, p.PastLabels)
	c.SetAnnotations, c.RemoveAnnotations = difference(is.Annotations, own.Annotations, p.Annotations, p.PastAnnotations)
	if len(c.SetLabels)+len(c.RemoveLabels)+len(c.SetAnnotations)+len(c.RemoveAnnotations) == 0 {
		return nil
	}
	return &c
}

// difference is what is to be set in a map, and what removed, for what is put there, and for what was before.
func difference(is, own, put map[string]string, past []string) (set map[string]string, remove []string) {
	want := merged(only(own, asSet(past)), put)
	for key, value := range want {
		if now, has := is[key]; !has || now != value {
			if set == nil {
				set = map[string]string{}
			}
			set[key] = value
		}
	}
	for _, key := range past {
		_, wanted := want[key]
		if _, has := is[key]; has && !wanted {
			remove = append(remove, key)
		}
	}
	return set, remove
}

func asSet(keys []string) map[string]string {
	out := map[string]string{}
	for _, key := range keys {
		out[key] = ""
	}
	return out
}
