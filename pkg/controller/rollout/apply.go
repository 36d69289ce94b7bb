// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// fieldManager owns the fields that the controller writes.
const fieldManager = "sluice-controller"

// apply writes what was decided, in the order that engine.Decision documents, and records the
// events. It stops at the first write that fails; a refusal of the host goes into the status.
func (t *term) apply(ctx context.Context, seen *observation, page *entry, d engine.Decision) error {
	if d.StatusFirst {
		if err := t.writeStatus(ctx, seen, page, d.Status); err != nil {
			return err
		}
		t.record(ctx, seen, d.Events)
		d.Status, d.Events = nil, nil
	}
	deferred, err := t.applyToHost(ctx, seen, page, d)
	var no *refusal
	switch {
	case errors.Is(err, errNameTaken):
		d = engine.Decision{
			Status: &engine.Collide(seen.effective()).Status,
			Events: []engine.Event{{Warning: true, Reason: "ReplicaSetNameTaken", Message: err.Error()}},
		}
	case errors.As(err, &no):
		d.Status = withRefusal(&seen.hub.Status, d.Status, no, metav1.NewMicroTime(t.config.Clock.Now()))
		d.Events = []engine.Event{no.event()}
	case err != nil:
		return err
	case deferred != nil:
		no = deferred
		d.Status = withRefusal(&seen.hub.Status, d.Status, no, metav1.NewMicroTime(t.config.Clock.Now()))
		d.Events = append(d.Events, no.event())
	}
	if d.Status != nil {
		if err := t.writeStatus(ctx, seen, page, d.Status); err != nil {
			return err
		}
	}
	t.record(ctx, seen, d.Events)
	if no != nil {
		return no
	}
	return nil
}

// record records what people should find in the events of the Rollout.
func (t *term) record(ctx context.Context, seen *observation, events []engine.Event) {
	for _, e := range events {
		klog.FromContext(ctx).V(2).Info("Event", "reason", e.Reason, "message", e.Message)
		t.events.record(seen.served, e)
	}
}

// applyToHost makes all writes to the host cluster. It stops at the first that fails, with one exception: what the host
// refuses to have written on pods is returned when all else is done.
func (t *term) applyToHost(ctx context.Context, seen *observation, page *entry, d engine.Decision) (deferred *refusal, err error) {
	if err := t.mark(ctx, seen, d); err != nil {
		return nil, err
	}
	if err := t.applyToReplicaSets(ctx, seen, page, d); err != nil {
		return nil, err
	}
	if deferred, err = t.label(ctx, seen.served.Namespace, page, d.Pods); err != nil {
		return nil, err
	}
	for _, change := range d.Services {
		if err := t.lead(ctx, seen.served.Namespace, page, change); err != nil {
			return nil, err
		}
	}
	if err := t.scaleWorkload(ctx, seen.served.Namespace, page, d.Workload); err != nil {
		return nil, err
	}
	if err := t.evict(ctx, seen, page, d.Evict); err != nil {
		return nil, err
	}
	for _, ref := range d.Delete {
		if err := t.delete(ctx, seen, page, ref); err != nil {
			return nil, err
		}
	}
	return deferred, nil
}

// applyToReplicaSets makes the writes of ReplicaSets that come before all others.
func (t *term) applyToReplicaSets(ctx context.Context, seen *observation, page *entry, d engine.Decision) error {
	if err := t.adopt(ctx, seen, page, d.Adopt); err != nil {
		return err
	}
	if d.Create != nil {
		if err := t.create(ctx, seen, page, d.Create); err != nil {
			return err
		}
	}
	for _, change := range d.Scale {
		if err := t.scale(ctx, seen, page, change); err != nil {
			return err
		}
	}
	return nil
}

// mark sees to it that an older copy of the store is recognised as one, should it ever be put back after
// this. What gets an owner reference would be collected by a store that lacks the owner, so the mark comes
// first; what is only scaled, led elsewhere or deleted would be moved again, and the mark may follow.
func (t *term) mark(ctx context.Context, seen *observation, d engine.Decision) error {
	owning := len(d.Adopt) > 0 || d.Create != nil
	if !owning && len(d.Scale)+len(d.Services)+len(d.Delete) == 0 && d.Workload == nil {
		return nil
	}
	version, err := strconv.ParseUint(seen.served.ResourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("the resourceVersion of the Rollout is no number, which the mark against older copies of the store needs: %w", err)
	}
	if !owning {
		t.config.NoteMirrored(version)
		return nil
	}
	if err := t.config.EnsureMirrored(ctx, version); err != nil {
		return fmt.Errorf("marking the store's revision in the host cluster before ReplicaSets get an owner in it: %w", err)
	}
	return nil
}

// adopt gives ReplicaSets a controller reference to the Rollout, unless it turns out to be gone or
// about to go: what its deletion has just orphaned on purpose must not be taken back.
func (t *term) adopt(ctx context.Context, seen *observation, page *entry, refs []engine.ReplicaSetRef) error {
	if len(refs) == 0 {
		return nil
	}
	live, err := t.config.Rollouts.SluiceV1alpha1().Rollouts(seen.served.Namespace).Get(ctx, seen.served.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (live.UID != seen.served.UID || live.DeletionTimestamp != nil) {
		return fmt.Errorf("adopting ReplicaSets: the Rollout is being deleted: %w", errConflict)
	}
	if err != nil {
		return fmt.Errorf("reading the Rollout before it adopts ReplicaSets: %w", err)
	}
	owner := metav1.NewControllerRef(live, v1alpha1.SchemeGroupVersion.WithKind("Rollout"))
	for _, ref := range refs {
		metadata := map[string]any{"ownerReferences": []*metav1.OwnerReference{owner}}
		if err := t.patch(ctx, seen, page, ref, types.StrategicMergePatchType, metadata, nil); err != nil {
			return refusedAs("AdoptingReplicaSetFailed", fmt.Sprintf("ReplicaSet %q cannot be adopted", ref.Name), err)
		}
		page.wroteToHost(t.config.Clock.Now(), "adopted ReplicaSet %s", ref.Name)
	}
	return nil
}

// scale makes all changes of one ReplicaSet in one write.
func (t *term) scale(ctx context.Context, seen *observation, page *entry, change engine.ReplicaSetChange) error {
	metadata := map[string]any{}
	if len(change.Annotations) > 0 {
		metadata["annotations"] = change.Annotations
	}
	spec := map[string]any{"replicas": change.Replicas, "minReadySeconds": change.MinReadySeconds}
	if change.Template != nil {
		spec["template"] = map[string]any{"metadata": metadataPatch(change.Template)}
	}
	if err := t.patch(ctx, seen, page, change.ReplicaSetRef, types.MergePatchType, metadata, spec); err != nil {
		return refusedAs("ScalingReplicaSetFailed", fmt.Sprintf("ReplicaSet %q cannot be scaled to %d", change.Name, change.Replicas), err)
	}
	page.wroteToHost(t.config.Clock.Now(), "ReplicaSet %s to %d", change.Name, change.Replicas)
	return nil
}

// patch changes one ReplicaSet if it still is in the state that ref names.
func (t *term) patch(ctx context.Context, seen *observation, page *entry, ref engine.ReplicaSetRef, kind types.PatchType, metadata, spec map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = ref.UID, ref.ResourceVersion
	body := map[string]any{"metadata": metadata}
	if spec != nil {
		body["spec"] = spec
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	hostWrites.WithLabelValues("patch", "replicasets").Inc()
	written, err := t.config.Host.AppsV1().ReplicaSets(seen.served.Namespace).
		Patch(ctx, ref.Name, kind, data, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return err
	}
	page.expectReplicaSet(written.UID, written.ResourceVersion, t.config.Clock.Now())
	return nil
}

func (t *term) delete(ctx context.Context, seen *observation, page *entry, ref engine.ReplicaSetRef) error {
	hostWrites.WithLabelValues("delete", "replicasets").Inc()
	background := metav1.DeletePropagationBackground
	err := t.config.Host.AppsV1().ReplicaSets(seen.served.Namespace).Delete(ctx, ref.Name, metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &ref.UID, ResourceVersion: &ref.ResourceVersion},
		PropagationPolicy: &background,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return refusedAs("DeletingReplicaSetFailed", fmt.Sprintf("ReplicaSet %q, which is beyond the history limit, cannot be deleted", ref.Name), err)
	}
	page.expectDeleted(ref.UID, t.config.Clock.Now())
	page.wroteToHost(t.config.Clock.Now(), "deleted ReplicaSet %s", ref.Name)
	return nil
}

// writeStatus writes the status if the Rollout still is as it was seen. From then on it is seen as
// written.
func (t *term) writeStatus(ctx context.Context, seen *observation, page *entry, status *rollouts.RolloutStatus) error {
	out := *seen.served
	out.Status = v1alpha1.RolloutStatus{}
	if err := v1alpha1.Convert_rollouts_RolloutStatus_To_v1alpha1_RolloutStatus(status, &out.Status, nil); err != nil {
		return fmt.Errorf("converting the status: %w", err)
	}
	statusWrites.Inc()
	written, err := t.config.Rollouts.SluiceV1alpha1().Rollouts(out.Namespace).
		UpdateStatus(ctx, &out, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the status: %w: %w", errConflict, err)
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	page.expectRollout(written.ResourceVersion, t.config.Clock.Now())
	page.wroteStatus()
	seen.served, seen.hub.Status = written, *status
	return nil
}

// refusal is a write that the host cluster will not have as things are: beyond a quota, forbidden,
// invalid, or failed by a webhook. Trying again soon is pointless, and people must get to know.
type refusal struct {
	reason, message string
	cause           error
}

// Error says what cannot be done and why, as the Rollout shows it.
func (r *refusal) Error() string { return r.message }

// event is what people should find of a refusal in the events of the Rollout.
func (r *refusal) event() engine.Event {
	return engine.Event{Warning: true, Reason: r.reason, Message: r.message}
}

// Unwrap makes a refusal an errRefused.
func (r *refusal) Unwrap() []error { return []error{errRefused, r.cause} }

// refusedAs sorts an error of a write to the host: a refusal to show, something that has changed in
// between, or anything else.
func refusedAs(reason, what string, err error) error {
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Errorf("%s: %w: %w", what, errConflict, err)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsInternalError(err),
		apierrors.IsRequestEntityTooLargeError(err), apierrors.IsMethodNotSupported(err):
		return &refusal{reason: reason, message: what + ": " + err.Error(), cause: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}
