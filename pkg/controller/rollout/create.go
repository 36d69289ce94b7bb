// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// errNameTaken says that a ReplicaSet which is not, and cannot become, the wanted one has its name.
var errNameTaken = errors.New("the name is taken")

// create makes the ReplicaSet of a new revision.
func (t *term) create(ctx context.Context, seen *observation, page *entry, wanted *appsv1.ReplicaSet) error {
	if err := describe(wanted, seen.served); err != nil {
		return err
	}
	client := t.config.Host.AppsV1().ReplicaSets(seen.served.Namespace)
	hostWrites.WithLabelValues("create", "replicasets").Inc()
	created, err := client.Create(ctx, wanted, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		existing, getErr := client.Get(ctx, wanted.Name, metav1.GetOptions{})
		if getErr != nil {
			return refusedAs("ReplicaSetCreateError", fmt.Sprintf("ReplicaSet %q exists already and cannot be read", wanted.Name), getErr)
		}
		return t.meet(seen, page, wanted, existing)
	}
	if err != nil {
		return refusedAs("ReplicaSetCreateError", fmt.Sprintf("ReplicaSet %q cannot be created", wanted.Name), err)
	}
	page.expectReplicaSet(created.UID, created.ResourceVersion, t.config.Clock.Now())
	page.wroteToHost(t.config.Clock.Now(), "created ReplicaSet %s with %d", created.Name, *created.Spec.Replicas)
	return nil
}

// describe writes on a new ReplicaSet what its Rollout is, so that it can be rebuilt should the store be lost. What the
// ReplicaSet tells by itself, and what is of the moment, is left out.
func describe(rs *appsv1.ReplicaSet, r *v1alpha1.Rollout) error {
	whole, err := json.Marshal(r.Spec)
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(whole, &fields); err != nil {
		return err
	}
	for _, told := range []string{"template", "replicas", "paused", "restartAt"} {
		delete(fields, told)
	}
	spec, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&rs.ObjectMeta, rollouts.SpecAnnotation, string(spec))
	return nil
}

// meet says what to do about a ReplicaSet that already has the name of the wanted one. One that is
// the wanted one, or can become it, will be in the cache soon; one of ours that is being deleted
// leaves the name soon; any other keeps the name.
func (t *term) meet(seen *observation, page *entry, wanted, existing *appsv1.ReplicaSet) error {
	if concerns(seen.served, existing) && isRevision(wanted, existing) {
		if existing.DeletionTimestamp == nil {
			page.expectReplicaSet(existing.UID, existing.ResourceVersion, t.config.Clock.Now())
		}
		return fmt.Errorf("ReplicaSet %q exists already: %w", wanted.Name, errConflict)
	}
	return fmt.Errorf("%w: ReplicaSet %q exists already, but is not of this Rollout or runs another template: another name is chosen", errNameTaken, wanted.Name)
}

// isRevision tells whether a ReplicaSet runs the revision that the wanted one is to run.
func isRevision(wanted, existing *appsv1.ReplicaSet) bool {
	return existing.Labels[rollouts.PodTemplateHashLabel] == wanted.Labels[rollouts.PodTemplateHashLabel] &&
		engine.TemplatesEqual(engine.TemplateOf(existing), engine.TemplateOf(wanted))
}
