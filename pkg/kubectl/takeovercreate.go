// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/kubectl/argo"
)

// argoManagedBy is the annotation by which Argo Rollouts knows the Services that it keeps.
const argoManagedBy = "argo-rollouts.argoproj.io/managed-by-rollouts"

// turnServices gives the Services that Argo Rollouts kept to the new Rollout: each in one write, before and after which
// it selects the same pods, since they have both labels. One that the new Rollout does not name leads to all its pods
// from then on. If Argo Rollouts has let go of them itself, the controller of Sluice takes those that are named.
func (t *takeover) turnServices(ctx context.Context, m *moved) error {
	r, err := argo.Typed(m.Rollout)
	if err != nil {
		return err
	}
	hub, err := argo.Hub(r)
	if err != nil {
		return err
	}
	named := engine.ServicesNamed(hub)
	services, err := t.kube.CoreV1().Services(t.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range services.Items {
		service := &services.Items[i]
		if !t.keptByArgo(service, m) {
			continue
		}
		if err := t.turn(ctx, service, m, slices.Contains(named, service.Name)); err != nil {
			return err
		}
		t.say("service/%s handed over", service.Name)
	}
	return nil
}

// keptByArgo is true if the selector of a Service leads to what Argo's Rollout has left, or is annotated as that.
func (t *takeover) keptByArgo(service *corev1.Service, m *moved) bool {
	by, annotated := service.Annotations[argoManagedBy]
	if annotated {
		return by == t.name
	}
	return service.Spec.Selector[rollouts.ArgoPodTemplateHashLabel] == m.hash
}

func (t *takeover) turn(ctx context.Context, service *corev1.Service, m *moved, ours bool) error {
	selector := map[string]any{rollouts.ArgoPodTemplateHashLabel: nil}
	annotations := map[string]any{argoManagedBy: nil}
	if ours {
		selector[rollouts.PodTemplateHashLabel] = m.hash
		annotations[rollouts.ManagedByRolloutAnnotation] = t.name
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": service.UID, "annotations": annotations},
		"spec":     map[string]any{"selector": selector},
	})
	if err != nil {
		return err
	}
	_, err = t.kube.CoreV1().Services(t.namespace).Patch(ctx, service.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// create makes the Rollout, unless it is there already, and waits until it is Healthy with the revision that runs.
func (t *takeover) create(ctx context.Context, m *moved) error {
	ours := t.sluice.SluiceV1alpha1().Rollouts(t.namespace)
	_, err := ours.Get(ctx, t.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && !groupMissing(err):
		answer, err := t.dryCreate(ctx, m)
		if err != nil {
			return err
		}
		if answer.Status.CurrentPodHash != m.hash {
			return fmt.Errorf("%s would start new pods: the server takes its template for revision %q, and %q runs; replicaset.apps/%s was changed in the meantime",
				printed(t.name), answer.Status.CurrentPodHash, m.hash, m.running.Name)
		}
		r, err := argo.Typed(m.Rollout)
		if err != nil {
			return err
		}
		if _, err := ours.Create(ctx, r, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
			return err
		}
		t.say("%s created", printed(t.name))
	case err != nil:
		return err
	}
	return t.awaitHealthy(ctx, m)
}

func (t *takeover) awaitHealthy(ctx context.Context, m *moved) error {
	return wait.PollUntilContextCancel(ctx, t.interval, true, func(ctx context.Context) (bool, error) {
		r, err := t.sluice.SluiceV1alpha1().Rollouts(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		st := &r.Status
		t.waiting = fmt.Sprintf("%s was to become Healthy (it is %s: %s)", printed(t.name), st.Phase, st.Message)
		if st.CurrentPodHash != m.hash {
			return false, fmt.Errorf("%s runs revision %q and not %q: somebody has changed it", printed(t.name), st.CurrentPodHash, m.hash)
		}
		return st.ObservedGeneration == r.Generation && st.Phase == v1alpha1.RolloutPhaseHealthy && st.StableRS == m.hash, nil
	})
}
