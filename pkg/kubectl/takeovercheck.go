// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/kubectl/argo"
)

// check says whether a Rollout of Argo's can be taken over, and what that means. It changes nothing.
func (t *takeover) check(ctx context.Context, theirs *unstructured.Unstructured) (*moved, error) {
	c := argo.Convert(theirs)
	for _, line := range lossLines(c) {
		t.warn("%s: %s", printedArgo(t.name), line)
	}
	no := refusals(unsteady(theirs))
	no = append(no, c.Problems...)
	if len(c.Losses) > 0 && !t.dropUnsupported {
		no = append(no, "it has fields that are not carried, named above; --drop-unsupported leaves them out")
	}
	if err := no.orNil(); err != nil {
		return nil, err // The rest may make no sense.
	}
	forLive(c.Rollout, t.namespace)
	m := &moved{Rollout: c.Rollout, Owner: theirs.GetUID()}
	m.hash, _, _ = unstructured.NestedString(theirs.Object, "status", "currentPodHash")

	owned, err := t.replicaSets(ctx, func(rs *appsv1.ReplicaSet) bool { return controlledBy(rs, m.Owner) })
	if err != nil {
		return nil, err
	}
	no = append(no, m.pick(owned, theirs)...)
	others, err := t.rivals(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := append(no, others...).orNil(); err != nil {
		return nil, err
	}
	if t.dryRun != dryRunClient {
		if err := t.compare(ctx, m, owned); err != nil {
			return nil, err
		}
	}
	t.advise(ctx, theirs)
	if t.dryRun != dryRunNone {
		t.foretell(m)
	}
	return m, nil
}

// unsteady says why a Rollout of Argo's is not at rest (reference section 1.8).
func unsteady(theirs *unstructured.Unstructured) []string {
	text := func(fields ...string) string {
		value, _, _ := unstructured.NestedString(theirs.Object, fields...)
		return value
	}
	is := func(fields ...string) bool {
		value, _, _ := unstructured.NestedBool(theirs.Object, fields...)
		return value
	}
	var no []string
	if phase := text("status", "phase"); phase != string(v1alpha1.RolloutPhaseHealthy) {
		no = append(no, fmt.Sprintf("its phase is %q, not Healthy", phase))
	}
	if seen := text("status", "observedGeneration"); seen != strconv.FormatInt(theirs.GetGeneration(), 10) {
		no = append(no, fmt.Sprintf("Argo Rollouts has not seen its last change: observedGeneration is %q, the generation %d", seen, theirs.GetGeneration()))
	}
	if current, stable := text("status", "currentPodHash"), text("status", "stableRS"); current == "" || current != stable {
		no = append(no, fmt.Sprintf("an update is in flight: the current revision is %q, the stable one %q", current, stable))
	}
	pauses, _, _ := unstructured.NestedSlice(theirs.Object, "status", "pauseConditions")
	if is("spec", "paused") || is("status", "abort") || len(pauses) > 0 {
		no = append(no, "it is paused or aborted")
	}
	if asked := text("spec", "restartAt"); asked != "" && asked != text("status", "restartedAt") {
		no = append(no, "a restart, asked for at "+asked+", is not done")
	}
	if _, referring, _ := unstructured.NestedMap(theirs.Object, "spec", "workloadRef"); referring {
		no = append(no, "its template is that of another workload (spec.workloadRef), which adopts ReplicaSets without an owner and scales them down: "+
			"apply what 'kubectl sluice migrate -f' prints beside it, and delete it when that is Healthy")
	}
	if others := foreignFinalizers(theirs.GetFinalizers()); len(others) > 0 {
		no = append(no, "it could not be deleted: it has finalizers of others: "+strings.Join(others, ", "))
	}
	return no
}

// forLive takes out of a Rollout what was meant for the object that it takes the place of.
func forLive(r *unstructured.Unstructured, namespace string) {
	r.SetNamespace(namespace)
	r.SetFinalizers(nil)
	annotations := r.GetAnnotations()
	delete(annotations, argoTracking) // It names Argo's Rollout.
	r.SetAnnotations(annotations)
	unstructured.RemoveNestedField(r.Object, "spec", "restartAt") // It is done.
}

// pick finds the running ReplicaSet among those of Argo's Rollout, and says what is wrong with them.
func (m *moved) pick(owned []*appsv1.ReplicaSet, theirs *unstructured.Unstructured) []string {
	replicas, found, _ := unstructured.NestedInt64(theirs.Object, "spec", "replicas")
	if !found {
		replicas = int64(v1alpha1.DefaultReplicas)
	}
	var no []string
	for _, rs := range owned {
		name := "replicaset.apps/" + rs.Name
		st := &rs.Status
		switch {
		case rs.DeletionTimestamp != nil:
			no = append(no, name+" is being deleted")
		case rs.Spec.Selector == nil || rs.Spec.Selector.MatchLabels[rollouts.ArgoPodTemplateHashLabel] != rs.Labels[rollouts.ArgoPodTemplateHashLabel]:
			no = append(no, name+" does not tell its pods from others by the label "+rollouts.ArgoPodTemplateHashLabel)
		case rs.Labels[rollouts.ArgoPodTemplateHashLabel] != m.hash:
			if ptr.Deref(rs.Spec.Replicas, 1) != 0 || st.Replicas != 0 || st.ObservedGeneration < rs.Generation {
				no = append(no, name+", of another revision, still has pods")
			}
		case m.running != nil:
			no = append(no, name+" has the same revision as replicaset.apps/"+m.running.Name)
		default:
			m.running = rs
			if int64(ptr.Deref(rs.Spec.Replicas, 1)) != replicas || int64(st.Replicas) != replicas || int64(st.AvailableReplicas) != replicas || st.ObservedGeneration < rs.Generation {
				no = append(no, fmt.Sprintf("%s is to have %d pods, has %d and %d of them available, and %s is to have %d",
					name, ptr.Deref(rs.Spec.Replicas, 1), st.Replicas, st.AvailableReplicas, printedArgo(theirs.GetName()), replicas))
			}
		}
	}
	if m.running == nil {
		no = append(no, "it has no ReplicaSet of its revision "+m.hash)
	}
	return no
}

// rivals are the Rollouts of Sluice that would want the same pods.
func (t *takeover) rivals(ctx context.Context, m *moved) ([]string, error) {
	ours, err := t.sluice.SluiceV1alpha1().Rollouts(t.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	template, _, _ := unstructured.NestedStringMap(m.Rollout.Object, "spec", "template", "metadata", "labels")
	var no []string
	for i := range ours.Items {
		r := &ours.Items[i]
		selector, err := metav1.LabelSelectorAsSelector(r.Spec.Selector)
		switch {
		case r.Name == t.name:
			no = append(no, printed(r.Name)+" is there already")
		case err == nil && selector.Matches(labels.Set(template)):
			no = append(no, printed(r.Name)+" selects the same pods")
		}
	}
	return no, nil
}

// compare has the server check the Rollout and give it the defaults of the cluster, and then does what the server will
// do when it is created: find out whether what runs is what it wants.
func (t *takeover) compare(ctx context.Context, m *moved, owned []*appsv1.ReplicaSet) error {
	answer, err := t.dryCreate(ctx, m)
	if err != nil {
		return fmt.Errorf("the server would refuse it: %w", err)
	}
	hub, err := argo.Hub(answer)
	if err != nil {
		return err
	}
	hub.Status = rollouts.RolloutStatus{}
	var future []*appsv1.ReplicaSet
	for _, rs := range owned {
		after, err := m.future(rs)
		if err != nil {
			return err
		}
		future = append(future, after)
	}
	if engine.Resolve(hub, &hub.Spec.Template, future).Hash == m.hash {
		return nil
	}
	at := slices.IndexFunc(owned, func(rs *appsv1.ReplicaSet) bool { return rs.UID == m.running.UID })
	return refusals{fmt.Sprintf("replicaset.apps/%s does not run its template: Sluice would start new pods (from what runs, -, to what it says, +; "+
		"what Argo Rollouts itself puts into the template of an update, as antiAffinity, goes with an update that is made without it):\n%s",
		m.running.Name, diff.Diff(engine.TemplateOf(future[at]), &hub.Spec.Template))}
}

// future is a ReplicaSet as it will be when the Rollout is created.
func (m *moved) future(rs *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
	marks, err := m.marks(rs)
	if err != nil {
		return nil, err
	}
	after := rs.DeepCopy()
	after.OwnerReferences = nil
	for key, value := range marks["annotations"].(map[string]any) {
		if text, ok := value.(string); ok {
			metav1.SetMetaDataAnnotation(&after.ObjectMeta, key, text)
		}
	}
	hash := rs.Labels[rollouts.ArgoPodTemplateHashLabel]
	metav1.SetMetaDataLabel(&after.ObjectMeta, rollouts.PodTemplateHashLabel, hash)
	metav1.SetMetaDataLabel(&after.Spec.Template.ObjectMeta, rollouts.PodTemplateHashLabel, hash)
	return after, nil
}

// dryCreate asks the server what would be stored.
func (t *takeover) dryCreate(ctx context.Context, m *moved) (*v1alpha1.Rollout, error) {
	r, err := argo.Typed(m.Rollout)
	if err != nil {
		return nil, err
	}
	return t.sluice.SluiceV1alpha1().Rollouts(t.namespace).Create(ctx, r, metav1.CreateOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}})
}

// The marks of those who make Rollouts again that are deleted.
const (
	argoTracking = "argocd.argoproj.io/tracking-id"
	fluxLabel    = "kustomize.toolkit.fluxcd.io/name"
)

// advise names what else speaks of Argo's Rollout. What may not be read is not spoken of.
func (t *takeover) advise(ctx context.Context, theirs *unstructured.Unstructured) {
	if theirs.GetAnnotations()[argoTracking] != "" || theirs.GetLabels()[fluxLabel] != "" {
		t.warn("%s comes from Git: unless the new manifest is there, or Argo CD or Flux is suspended, it is made again after it is deleted", printedArgo(t.name))
	}
	scalers, err := t.kube.AutoscalingV2().HorizontalPodAutoscalers(t.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for i := range scalers.Items {
		target := &scalers.Items[i].Spec.ScaleTargetRef
		if target.Name == t.name && target.Kind == "Rollout" && strings.HasPrefix(target.APIVersion, argo.Group+"/") {
			t.warn("horizontalpodautoscaler.autoscaling/%[1]s scales %[2]s, and does nothing until it is told otherwise: "+
				`kubectl patch hpa %[1]s --namespace %[3]s --type=merge -p '{"spec":{"scaleTargetRef":{"apiVersion":"%[4]s"}}}'`,
				scalers.Items[i].Name, printedArgo(t.name), t.namespace, v1alpha1.SchemeGroupVersion)
		}
	}
}

// foretell says what would be done.
func (t *takeover) foretell(m *moved) {
	t.say("%s would be deleted, its pods kept (dry run)", printedArgo(t.name))
	t.say("%s would adopt replicaset.apps/%s with %d pods (dry run)", printed(t.name), m.running.Name, m.running.Status.Replicas)
	if t.dryRun == dryRunClient {
		t.warn("The servers were not asked whether the template is what runs; --dry-run=server asks them.")
	}
}

func controlledBy(rs *appsv1.ReplicaSet, owner types.UID) bool {
	ref := metav1.GetControllerOfNoCopy(rs)
	return ref != nil && ref.UID == owner
}

func refersTo(rs *appsv1.ReplicaSet, owner types.UID) bool {
	return slices.ContainsFunc(rs.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == owner })
}

// selectorOf is the selector of a manifest of Sluice's.
func selectorOf(r *unstructured.Unstructured) (labels.Selector, error) {
	typed, err := argo.Typed(r)
	if err != nil {
		return nil, err
	}
	return metav1.LabelSelectorAsSelector(typed.Spec.Selector)
}
