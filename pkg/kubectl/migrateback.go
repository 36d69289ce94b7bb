// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Sources: reference sections 1.14 (W6) and 7.15 (a Rollout that is removed, and a Deployment that stays at 0).
//
// The acts, each of which can be done again, and after each of which the command may end for whatever reason, with as
// many pods available as before:
//
//  1. Nothing but checks: does the Deployment run what the Rollout has as stable?
//  2. The Rollout is told to leave the size of the Deployment alone.
//  3. The Deployment is scaled to the Rollout's replicas, and waited for.
//  4. The Rollout is told to give its Services back. They lead to all pods then, the Deployment's among them.
//  5. The Rollout is deleted, and its pods with it.

// handback gives the pods of one Rollout back to its Deployment.
type handback struct {
	*cluster
	name     string
	interval time.Duration
	say      func(format string, args ...any)
	// stands says where it stands, waiting what is waited for.
	stands, waiting string
}

// checkBack makes sure that the flags and arguments go together with --back.
func (o *migrateOptions) checkBack(fromFiles bool, other string, args []string) error {
	switch {
	case fromFiles:
		return errors.New("give either manifests, with -f or -k, or --back, not both")
	case other != "":
		return fmt.Errorf("--%s does not go with --back", other)
	case len(args) != 1:
		return errors.New("--back needs the NAME of one Rollout")
	}
	_, err := rolloutName(args[0])
	return err
}

// migrateBack hands the pods of a Rollout back.
func (p *plugin) migrateBack(ctx context.Context, arg string, timeout time.Duration) error {
	name, err := rolloutName(arg)
	if err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	h := &handback{cluster: c, name: name, interval: p.detachInterval, stands: "nothing was changed.",
		say: func(format string, args ...any) { fmt.Fprintf(p.Out, format+"\n", args...) }}
	limited, cancel := withTimeout(ctx, timeout)
	defer cancel()
	err = h.run(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		fmt.Fprintf(p.ErrOut, "Interrupted. Where it stands: %s\n", h.stands)
		return err
	case exceeded(limited, err):
		err = fmt.Errorf("not done after %s, while %s", timeout, h.waiting)
	}
	return &hinted{err, "Where it stands: " + h.stands}
}

// run goes on from wherever things stand.
func (h *handback) run(ctx context.Context) error {
	r, w, err := h.ready(ctx)
	if err != nil {
		return err
	}
	again := fmt.Sprintf("To go on: 'kubectl sluice migrate --back %s --namespace %s'.", h.name, h.namespace)
	if r.Spec.WorkloadRef.ScaleDown != v1alpha1.WorkloadScaleDownNever {
		if err := h.patch(ctx, r, map[string]any{"workloadRef": map[string]any{"scaleDown": v1alpha1.WorkloadScaleDownNever}}); err != nil {
			return err
		}
		h.say("%s leaves deployment.apps/%s alone", printed(h.name), w.Name)
	}
	h.stands = printed(h.name) + " serves with all its pods; the Deployment may have pods besides. " + again
	if err := h.scaleUp(ctx, r, w.Name); err != nil {
		return err
	}
	if err := h.awaitDeployment(ctx, w.Name); err != nil {
		return err
	}
	h.say("deployment.apps/%s has its pods, and they are available", w.Name)
	h.stands = printed(h.name) + " and the Deployment have all their pods; the Services may lead to those of the Rollout only. " + again
	if err := h.releaseServices(ctx); err != nil {
		return err
	}
	// What came in between must not be found out by its outage.
	if err := h.awaitDeployment(ctx, w.Name); err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err = h.sluice.SluiceV1alpha1().Rollouts(h.namespace).Delete(ctx, h.name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &r.UID}, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	h.say("%s deleted, its pods go", printed(h.name))
	return nil
}

// ready reads the Rollout and its Deployment, once they are such that pods of the one can stand in for those of the other.
func (h *handback) ready(ctx context.Context) (*v1alpha1.Rollout, *appsv1.Deployment, error) {
	var r *v1alpha1.Rollout
	var w *appsv1.Deployment
	h.waiting = "the Rollout had not taken up the last change"
	err := wait.PollUntilContextCancel(ctx, h.interval, true, func(ctx context.Context) (bool, error) {
		var err error
		if r, err = h.sluice.SluiceV1alpha1().Rollouts(h.namespace).Get(ctx, h.name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		ref := r.Spec.WorkloadRef
		if ref == nil {
			return false, fmt.Errorf("%s has a template of its own, and no Deployment to go back to", printed(h.name))
		}
		w, err = h.kube.AppsV1().Deployments(h.namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return false, fmt.Errorf("deployment.apps/%s, which %s takes its template from, does not exist: nothing could take over its pods", ref.Name, printed(h.name))
		case err != nil:
			return false, err
		case r.Status.ObservedGeneration < r.Generation || r.Status.WorkloadObservedGeneration < w.Generation:
			return false, nil
		case r.Status.StableRS == "" || r.Status.StableRS != r.Status.CurrentPodHash || r.Status.Abort:
			return false, fmt.Errorf("the Deployment has a template that is not the stable one of %s (%s): let the update end, or take the template back, before", printed(h.name), r.Status.Phase)
		}
		return true, nil
	})
	return r, w, err
}

// scaleUp gives the Deployment as many pods as the Rollout is to have, unless it has more.
func (h *handback) scaleUp(ctx context.Context, r *v1alpha1.Rollout, name string) error {
	for {
		w, err := h.kube.AppsV1().Deployments(h.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		size := ptr.Deref(r.Spec.Replicas, v1alpha1.DefaultReplicas)
		if _, noted := w.Annotations[rollouts.WorkloadReplicasAnnotation]; ptr.Deref(w.Spec.Replicas, 1) >= size && !noted {
			return nil
		}
		size = max(size, ptr.Deref(w.Spec.Replicas, 1))
		data, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": w.UID, "resourceVersion": w.ResourceVersion, "annotations": map[string]any{rollouts.WorkloadReplicasAnnotation: nil}},
			"spec":     map[string]any{"replicas": size},
		})
		if err != nil {
			return err
		}
		_, err = h.kube.AppsV1().Deployments(h.namespace).Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
		if apierrors.IsConflict(err) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			h.say("deployment.apps/%s scaled to %d", name, size)
		}
		return err
	}
}

// awaitDeployment waits until as many pods of the Deployment are available as the Rollout is to have, of the template
// that it has now.
func (h *handback) awaitDeployment(ctx context.Context, name string) error {
	return wait.PollUntilContextCancel(ctx, h.interval, true, func(ctx context.Context) (bool, error) {
		r, err := h.sluice.SluiceV1alpha1().Rollouts(h.namespace).Get(ctx, h.name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		w, err := h.kube.AppsV1().Deployments(h.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		want := ptr.Deref(r.Spec.Replicas, v1alpha1.DefaultReplicas)
		h.waiting = fmt.Sprintf("%d of %d pods of deployment.apps/%s were available", w.Status.AvailableReplicas, want, name)
		if ptr.Deref(w.Spec.Replicas, 1) < want {
			return false, fmt.Errorf("somebody has scaled deployment.apps/%s to %d, and %d are needed", name, ptr.Deref(w.Spec.Replicas, 1), want)
		}
		return w.Status.ObservedGeneration >= w.Generation && w.Status.AvailableReplicas >= want && w.Status.UpdatedReplicas >= want, nil
	})
}

// releaseServices has the controller give back the Services that the Rollout manages: with a strategy that names none.
func (h *handback) releaseServices(ctx context.Context) error {
	r, err := h.sluice.SluiceV1alpha1().Rollouts(h.namespace).Get(ctx, h.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	canary := r.Spec.Strategy.Canary
	if canary == nil || canary.CanaryService != "" || canary.StableService != "" {
		err := h.patch(ctx, r, map[string]any{"strategy": map[string]any{
			"blueGreen": nil, "canary": map[string]any{"canaryService": nil, "stableService": nil},
		}})
		if err != nil {
			return err
		}
		h.say("%s names no Service any more", printed(h.name))
	}
	return wait.PollUntilContextCancel(ctx, h.interval, true, func(ctx context.Context) (bool, error) {
		services, err := h.kube.CoreV1().Services(h.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for i := range services.Items {
			if s := &services.Items[i]; s.Annotations[rollouts.ManagedByRolloutAnnotation] == h.name {
				h.waiting = fmt.Sprintf("service/%s still led to pods of the Rollout only", s.Name)
				return false, nil
			}
		}
		return true, nil
	})
}

// patch changes the spec of the Rollout if that still is the one that was looked at.
func (h *handback) patch(ctx context.Context, r *v1alpha1.Rollout, spec map[string]any) error {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": r.UID}, "spec": spec})
	if err != nil {
		return err
	}
	_, err = h.sluice.SluiceV1alpha1().Rollouts(h.namespace).Patch(ctx, h.name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}
