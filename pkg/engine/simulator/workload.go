// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Deploy makes a Deployment, whose own pods are not simulated: as many of them are available as it asks for.
func (c *Cluster) Deploy(w *appsv1.Deployment) {
	c.workload = w.DeepCopy()
	c.serial++
	c.workload.UID, c.workload.Generation = types.UID("deployment-"+strconv.Itoa(c.serial)), 1
	c.storeWorkload()
}

// Undeploy deletes the Deployment.
func (c *Cluster) Undeploy() {
	c.workload = nil
	c.nextVersion()
}

// Workload is the Deployment; nil if there is none.
func (c *Cluster) Workload() *appsv1.Deployment { return c.workload }

// Redeploy changes the Deployment, as somebody does who knows nothing of the Rollout.
func (c *Cluster) Redeploy(change func(w *appsv1.Deployment)) {
	c.workload = c.workload.DeepCopy()
	change(c.workload)
	c.workload.Generation++
	c.storeWorkload()
}

func (c *Cluster) storeWorkload() {
	w := c.workload
	w.Status = appsv1.DeploymentStatus{ObservedGeneration: w.Generation, Replicas: *w.Spec.Replicas, UpdatedReplicas: *w.Spec.Replicas, AvailableReplicas: *w.Spec.Replicas}
	w.ResourceVersion = c.nextVersion()
}

// referred is the Deployment if the Rollout refers to it.
func (c *Cluster) referred() *appsv1.Deployment {
	if ref := c.Rollout.Spec.WorkloadRef; ref == nil || c.workload == nil || ref.Name != c.workload.Name {
		return nil
	}
	return c.workload
}

func (c *Cluster) resize(change *engine.WorkloadChange) error {
	w := c.workload
	if w == nil || w.UID != change.UID || w.ResourceVersion != change.ResourceVersion {
		return fmt.Errorf("Deployment %s: %w", change.Name, ErrConflict)
	}
	before := *w.Spec.Replicas
	c.Redeploy(func(w *appsv1.Deployment) {
		size := change.Replicas
		w.Spec.Replicas = &size
		if w.Annotations == nil {
			w.Annotations = map[string]string{}
		}
		w.Annotations[rollouts.WorkloadReplicasAnnotation] = strconv.Itoa(int(change.Before))
	})
	c.Written.Workloads++
	c.tell("scale Deployment %s %d -> %d", w.Name, before, change.Replicas)
	return nil
}
