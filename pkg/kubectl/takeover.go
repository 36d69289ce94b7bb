// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/argo"
)

// The annotations of Argo Rollouts on a ReplicaSet (reference section 1.8, S16).
const (
	// argoRevision is the newest revision that it has run.
	argoRevision = "rollout.argoproj.io/revision"
	// argoPodMetadata is what canaryMetadata, stableMetadata and the like have put into its template.
	argoPodMetadata = "rollout.argoproj.io/ephemeral-metadata"
)

// takeover moves one Rollout of Argo's, with its pods.
type takeover struct {
	*cluster
	name            string
	dropUnsupported bool
	dryRun          string
	// interval is the time between two looks at what is waited for.
	interval time.Duration
	// say tells of what was done, warn of what to think of.
	say, warn func(format string, args ...any)

	standing standing
	// waiting says what is waited for.
	waiting string
}

// moved is what is taken over. It is kept in the annotation sluice.dev/migration while it is.
type moved struct {
	// Rollout is the one to create.
	Rollout *unstructured.Unstructured `json:"rollout"`
	// Owner is the uid of Argo's.
	Owner types.UID `json:"owner"`

	// running is the ReplicaSet with the pods.
	running *appsv1.ReplicaSet
	// hash names its revision, for Argo and from now on for Sluice: so its name is the one that Sluice would give it.
	hash string
}

// recorded are the takeovers of a namespace that were begun, by the names of the Rollouts.
func recorded(ctx context.Context, c *cluster) (map[string]*moved, error) {
	all, err := c.kube.AppsV1().ReplicaSets(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: rollouts.PodTemplateHashLabel})
	if err != nil {
		return nil, err
	}
	begun := map[string]*moved{}
	for i := range all.Items {
		rs := &all.Items[i]
		text, ok := rs.Annotations[rollouts.MigrationAnnotation]
		if !ok {
			continue
		}
		m := &moved{}
		if err := json.Unmarshal([]byte(text), m); err != nil {
			return nil, fmt.Errorf("annotation %s of replicaset.apps/%s: %w", rollouts.MigrationAnnotation, rs.Name, err)
		}
		m.running, m.hash = rs, rs.Labels[rollouts.PodTemplateHashLabel]
		begun[m.Rollout.GetName()] = m
	}
	return begun, nil
}

// run goes on from wherever things stand.
func (t *takeover) run(ctx context.Context) error {
	theirs, err := t.dynamic.Resource(argo.Resource).Namespace(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil && theirs.GetDeletionTimestamp() == nil {
		m, err := t.check(ctx, theirs)
		if err != nil || t.dryRun != dryRunNone {
			return err
		}
		if err := t.mark(ctx, m); err != nil {
			return err
		}
		if err := t.delete(ctx, theirs); err != nil {
			return err
		}
		return t.finish(ctx, m)
	}
	begun, err := recorded(ctx, t.cluster)
	if err != nil {
		return err
	}
	m := begun[t.name]
	if m == nil {
		return t.nothingThere(ctx)
	}
	t.standing = deleting
	if t.dryRun != dryRunNone {
		t.say("%s is deleted; its pods would be taken over by %s (dry run)", printedArgo(t.name), printed(t.name))
		return nil
	}
	return t.finish(ctx, m)
}

// finish does all that comes after the deletion of Argo's Rollout.
func (t *takeover) finish(ctx context.Context, m *moved) error {
	if err := t.letGo(ctx, m); err != nil {
		return err
	}
	before, err := t.pods(ctx, m)
	if err != nil {
		return err
	}
	t.standing = adopting
	if err := t.prepare(ctx, m); err != nil {
		return err
	}
	if err := t.turnServices(ctx, m); err != nil {
		return err
	}
	if err := t.create(ctx, m); err != nil {
		return err
	}
	return t.conclude(ctx, m, before)
}

// mark puts on pods and ReplicaSets what changes nothing yet; the record of what to create comes last.
func (t *takeover) mark(ctx context.Context, m *moved) error {
	t.standing = marked
	if err := t.labelPods(ctx, m); err != nil {
		return err
	}
	owned, err := t.replicaSets(ctx, func(rs *appsv1.ReplicaSet) bool { return controlledBy(rs, m.Owner) })
	if err != nil {
		return err
	}
	slices.SortFunc(owned, func(a, b *appsv1.ReplicaSet) int {
		switch {
		case a.UID == m.running.UID:
			return 1
		case b.UID == m.running.UID:
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, rs := range owned {
		marks, err := m.marks(rs)
		if err != nil {
			return err
		}
		if err := t.patch(ctx, rs, map[string]any{"metadata": marks}); err != nil {
			return err
		}
	}
	return nil
}

// marks are the labels and annotations by which Sluice will know a ReplicaSet of Argo's, and the record on the running
// one. Null takes off what an earlier attempt may have left.
func (m *moved) marks(rs *appsv1.ReplicaSet) (map[string]any, error) {
	annotations := map[string]any{rollouts.RevisionAnnotation: nil, rollouts.PodMetadataAnnotation: nil, rollouts.MigrationAnnotation: nil}
	if revision := rs.Annotations[argoRevision]; revision != "" {
		annotations[rollouts.RevisionAnnotation] = revision
	}
	if metadata := rs.Annotations[argoPodMetadata]; metadata != "" {
		annotations[rollouts.PodMetadataAnnotation] = metadata
	}
	if rs.UID == m.running.UID {
		record, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		annotations[rollouts.MigrationAnnotation] = string(record)
	}
	hash := rs.Labels[rollouts.ArgoPodTemplateHashLabel]
	return map[string]any{"labels": map[string]any{rollouts.PodTemplateHashLabel: hash}, "annotations": annotations}, nil
}

// delete deletes Argo's Rollout, exactly as it was checked, and leaves what it owns.
func (t *takeover) delete(ctx context.Context, theirs *unstructured.Unstructured) error {
	orphan, uid, version := metav1.DeletePropagationOrphan, theirs.GetUID(), theirs.GetResourceVersion()
	err := t.dynamic.Resource(argo.Resource).Namespace(t.namespace).Delete(ctx, t.name, metav1.DeleteOptions{
		PropagationPolicy: &orphan,
		Preconditions:     &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%s has changed since it was checked: %w", printedArgo(t.name), err)
	}
	if err != nil {
		return err
	}
	t.standing = deleting
	t.say("%s deleted, its pods are kept", printedArgo(t.name))
	return nil
}

// letGo waits until Argo's Rollout is gone and no ReplicaSet refers to it. The references are taken off here too and
// not left to the garbage collector alone: one that did not know of a ReplicaSet yet would take it for garbage.
func (t *takeover) letGo(ctx context.Context, m *moved) error {
	t.waiting = "the garbage collector was to let go of " + printedArgo(t.name) + " (is kube-controller-manager running?)"
	return wait.PollUntilContextCancel(ctx, t.interval, true, func(ctx context.Context) (bool, error) {
		owned, err := t.replicaSets(ctx, func(rs *appsv1.ReplicaSet) bool { return refersTo(rs, m.Owner) })
		if err != nil {
			return false, err
		}
		for _, rs := range owned {
			if err := t.strip(ctx, rs, m.Owner); err != nil {
				return false, err
			}
		}
		there, err := t.dynamic.Resource(argo.Resource).Namespace(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return len(owned) == 0, nil
		case err != nil:
			return false, err
		case there.GetUID() != m.Owner:
			return false, fmt.Errorf("%s was made again by somebody, and has to be deleted with --cascade=orphan first", printedArgo(t.name))
		}
		return false, nil
	})
}

// prepare makes the ReplicaSets, and all pods of the running one, ready for Sluice.
func (t *takeover) prepare(ctx context.Context, m *moved) error {
	left, err := t.left(ctx, m)
	if err != nil {
		return err
	}
	for _, rs := range left {
		hash := rs.Labels[rollouts.PodTemplateHashLabel]
		if rs.Spec.Template.Labels[rollouts.PodTemplateHashLabel] == hash {
			continue
		}
		metadata := map[string]any{"labels": map[string]any{rollouts.PodTemplateHashLabel: hash}}
		err := t.patch(ctx, rs, map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": metadata}}})
		if err != nil {
			return err
		}
	}
	t.waiting = "the ReplicaSet controller was to see the label in the template of replicaset.apps/" + m.running.Name
	err = wait.PollUntilContextCancel(ctx, t.interval, true, func(ctx context.Context) (bool, error) {
		rs, err := t.kube.AppsV1().ReplicaSets(t.namespace).Get(ctx, m.running.Name, metav1.GetOptions{})
		return err == nil && rs.Status.ObservedGeneration >= rs.Generation, err
	})
	if err != nil {
		return err
	}
	return t.labelPods(ctx, m) // Those that came before the template was changed.
}

// left are the ReplicaSets that Argo's Rollout has left, each controlled by nobody or by the new Rollout.
func (t *takeover) left(ctx context.Context, m *moved) ([]*appsv1.ReplicaSet, error) {
	selector, err := selectorOf(m.Rollout)
	if err != nil {
		return nil, err
	}
	left, err := t.replicaSets(ctx, func(rs *appsv1.ReplicaSet) bool {
		return rs.Labels[rollouts.PodTemplateHashLabel] != "" && rs.Labels[rollouts.ArgoPodTemplateHashLabel] != "" && selector.Matches(labels.Set(rs.Labels))
	})
	if err != nil {
		return nil, err
	}
	for _, rs := range left {
		owner := metav1.GetControllerOf(rs)
		if owner != nil && (owner.Name != t.name || owner.APIVersion != v1alpha1.SchemeGroupVersion.String()) {
			return nil, fmt.Errorf("replicaset.apps/%s: %w: %s %s of %s", rs.Name, errTaken, owner.Kind, owner.Name, owner.APIVersion)
		}
	}
	return left, nil
}

// labelPods puts our label on all pods of the running ReplicaSet.
func (t *takeover) labelPods(ctx context.Context, m *moved) error {
	pods, err := t.pods(ctx, m)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if pod.Labels[rollouts.PodTemplateHashLabel] == m.hash {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "labels": map[string]any{rollouts.PodTemplateHashLabel: m.hash}}})
		if err != nil {
			return err
		}
		_, err = t.kube.CoreV1().Pods(t.namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // It is gone; another has taken its place.
			return err
		}
	}
	return nil
}

// pods are those of the running ReplicaSet.
func (t *takeover) pods(ctx context.Context, m *moved) ([]*corev1.Pod, error) {
	all, err := t.kube.CoreV1().Pods(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(m.running.Spec.Selector)})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pointers(all.Items), func(pod *corev1.Pod) bool {
		owner := metav1.GetControllerOf(pod)
		return owner == nil || owner.UID != m.running.UID
	}), nil
}

// replicaSets are those of the namespace that are meant.
func (t *takeover) replicaSets(ctx context.Context, meant func(*appsv1.ReplicaSet) bool) ([]*appsv1.ReplicaSet, error) {
	all, err := t.kube.AppsV1().ReplicaSets(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: rollouts.ArgoPodTemplateHashLabel})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pointers(all.Items), func(rs *appsv1.ReplicaSet) bool { return !meant(rs) }), nil
}

// strip takes the reference to an owner off a ReplicaSet, unless somebody else just did.
func (t *takeover) strip(ctx context.Context, rs *appsv1.ReplicaSet, owner types.UID) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": rs.UID, "resourceVersion": rs.ResourceVersion,
		"ownerReferences": []map[string]any{{"$patch": "delete", "uid": owner}},
	}})
	if err != nil {
		return err
	}
	_, err = t.kube.AppsV1().ReplicaSets(rs.Namespace).Patch(ctx, rs.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patch changes a ReplicaSet, and no other of its name.
func (t *takeover) patch(ctx context.Context, rs *appsv1.ReplicaSet, change map[string]any) error {
	metadata, ok := change["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		change["metadata"] = metadata
	}
	metadata["uid"] = rs.UID
	patch, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = t.kube.AppsV1().ReplicaSets(rs.Namespace).Patch(ctx, rs.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// conclude takes the record off, and says what became of the pods.
func (t *takeover) conclude(ctx context.Context, m *moved, before []*corev1.Pod) error {
	if err := t.patch(ctx, m.running, map[string]any{"metadata": map[string]any{"annotations": map[string]any{rollouts.MigrationAnnotation: nil}}}); err != nil {
		return err
	}
	now, err := t.pods(ctx, m)
	if err != nil {
		return err
	}
	running := sets.New[types.UID]()
	for _, pod := range now {
		running.Insert(pod.UID)
	}
	kept := 0
	for _, pod := range before {
		if !running.Has(pod.UID) {
			t.warn("pod/%s has gone in the meantime; nobody was asked to delete it here", pod.Name)
			continue
		}
		kept++
	}
	t.say("%s is Healthy with the %d pods that ran before", printed(t.name), kept)
	return nil
}
