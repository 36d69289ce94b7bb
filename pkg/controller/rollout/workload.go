// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// workloadIndex finds Rollouts by the namespace and name of the Deployment that they refer to.
const workloadIndex = "workload"

func indexByWorkload(r *v1alpha1.Rollout) ([]string, error) {
	if ref := r.Spec.WorkloadRef; ref != nil {
		return []string{r.Namespace + "/" + ref.Name}, nil
	}
	return nil, nil
}

// trimWorkload keeps of a Deployment what Rollouts are about: its template, its size, and whether it replaces its own
// pods. All Deployments of the cluster are in the cache, since none carries a label of ours.
func trimWorkload(obj any) (any, error) {
	w, ok := obj.(*appsv1.Deployment)
	if !ok {
		return obj, nil // A deletion that was missed.
	}
	trimmed := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name:              w.Name,
			Namespace:         w.Namespace,
			UID:               w.UID,
			ResourceVersion:   w.ResourceVersion,
			Generation:        w.Generation,
			DeletionTimestamp: w.DeletionTimestamp,
		},
		Spec: appsv1.DeploymentSpec{Replicas: w.Spec.Replicas, Selector: w.Spec.Selector, Template: w.Spec.Template},
		Status: appsv1.DeploymentStatus{
			ObservedGeneration: w.Status.ObservedGeneration,
			Replicas:           w.Status.Replicas,
			UpdatedReplicas:    w.Status.UpdatedReplicas,
			AvailableReplicas:  w.Status.AvailableReplicas,
		},
	}
	if before, ok := w.Annotations[rollouts.WorkloadReplicasAnnotation]; ok {
		trimmed.Annotations = map[string]string{rollouts.WorkloadReplicasAnnotation: before}
	}
	return trimmed, nil
}

// handleWorkloads makes every change of a Deployment one of the Rollouts that refer to it.
func (c *Controller) handleWorkloads() (cache.ResourceEventHandlerRegistration, error) {
	return c.workloads.AddTypedEventHandler(appsinformers.DeploymentHandlerFuncs{
		AddFunc: func(w *appsv1.Deployment) { c.enqueueReferring(cache.MetaObjectToName(w)) },
		UpdateFunc: func(old, new *appsv1.Deployment) {
			if old.ResourceVersion != new.ResourceVersion {
				c.enqueueReferring(cache.MetaObjectToName(new))
			}
		},
		DeleteFunc: func(deleted appsinformers.DeletedDeployment) { c.enqueueReferring(deleted.GetObjectName()) },
	})
}

// enqueueReferring enqueues the Rollouts that refer to a Deployment.
func (c *Controller) enqueueReferring(workload cache.ObjectName) {
	found, err := c.rollouts.GetTypedIndexer().ByTypedIndex(workloadIndex, workload.String())
	if err != nil {
		panic("the index of Rollouts by Deployment is missing: " + err.Error())
	}
	for _, r := range found {
		c.enqueue(types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
	}
}

// workloadOf is the Deployment that a Rollout refers to as the cache shows it; nil if there is none.
func (c *Controller) workloadOf(r *rollouts.Rollout) *appsv1.Deployment {
	if r.Spec.WorkloadRef == nil {
		return nil
	}
	found, exists, err := c.workloads.GetStore().GetByKey(r.Namespace + "/" + r.Spec.WorkloadRef.Name)
	if err != nil || !exists {
		return nil
	}
	return found.(*appsv1.Deployment)
}

// readWorkload observes the Deployment of a Rollout by a consistent read. The cache is expected to catch up with it: an
// older template would be a revision of its own.
func (t *term) readWorkload(ctx context.Context, o *observation, page *entry) error {
	ref := o.hub.Spec.WorkloadRef
	if ref == nil {
		return nil
	}
	live, err := t.config.Host.AppsV1().Deployments(o.served.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading Deployment %q: %w", ref.Name, err)
	}
	trimmed, err := trimWorkload(live)
	if err != nil {
		return err
	}
	o.workload = trimmed.(*appsv1.Deployment)
	page.expectWorkload(live.UID, live.ResourceVersion, t.config.Clock.Now())
	return nil
}

func (o *observation) workloadsProgress() string { return o.workloadsUpTo }

func (o *observation) workloadVersion(uid types.UID) (resourceVersion string, deleting, found bool) {
	if o.workload == nil || o.workload.UID != uid {
		return "", false, false
	}
	return o.workload.ResourceVersion, o.workload.DeletionTimestamp != nil, true
}

// effective is the Rollout with the template that it runs.
func (o *observation) effective() *rollouts.Rollout {
	return engine.Effective(engine.Snapshot{Rollout: o.hub, Workload: o.workload}).Rollout
}

// scaleWorkload changes the size of a Deployment, if it still is in the state that was decided on.
func (t *term) scaleWorkload(ctx context.Context, namespace string, page *entry, change *engine.WorkloadChange) error {
	if change == nil {
		return nil
	}
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": change.UID, "resourceVersion": change.ResourceVersion,
			"annotations": map[string]string{rollouts.WorkloadReplicasAnnotation: strconv.Itoa(int(change.Before))},
		},
		"spec": map[string]any{"replicas": change.Replicas},
	})
	if err != nil {
		return err
	}
	hostWrites.WithLabelValues("patch", "deployments").Inc()
	written, err := t.config.Host.AppsV1().Deployments(namespace).
		Patch(ctx, change.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return refusedAs("ScalingWorkloadFailed", fmt.Sprintf("Deployment %q cannot be scaled to %d", change.Name, change.Replicas), err)
	}
	page.expectWorkload(written.UID, written.ResourceVersion, t.config.Clock.Now())
	page.wroteToHost(t.config.Clock.Now(), "Deployment %s to %d", change.Name, change.Replicas)
	return nil
}
