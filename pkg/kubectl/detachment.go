// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/pager"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// orphanGrace is how long the garbage collector is given to take owner references off.
const orphanGrace = 10 * time.Second

// detachScope is what is to be detached.
type detachScope struct {
	// namespace is empty for all.
	namespace string
	// name is that of one Rollout; empty for all.
	name string
}

// suffix names a namespace where it is not clear which one is meant.
func (s detachScope) suffix(namespace string) string {
	if s.namespace == metav1.NamespaceAll {
		return " in namespace " + namespace
	}
	return ""
}

// detachment is the work of detaching, and how far it has come.
type detachment struct {
	*cluster
	scope detachScope
	// serverless is true if nobody can be asked about Rollouts: then every reference to one goes.
	serverless bool
	// grace is how long a Rollout that is being deleted may keep its references.
	grace time.Duration
	// interval is the time between two looks.
	interval time.Duration
	// owned are the ReplicaSets in scope that still refer to a Rollout, as last read.
	owned []*appsv1.ReplicaSet
	// held is how many of them still have to come free.
	held int
	// going are the Rollouts in scope that are being deleted, as last read.
	going []*v1alpha1.Rollout
}

// serverAbsent says whether an error means that nobody serves Rollouts now.
func serverAbsent(err error) bool {
	return err != nil && (apierrors.IsServiceUnavailable(err) || groupMissing(err))
}

// rollouts are the Rollouts in scope.
func (d *detachment) rollouts(ctx context.Context) ([]*v1alpha1.Rollout, error) {
	options := metav1.ListOptions{}
	if d.scope.name != "" {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, d.scope.name).String()
	}
	all, err := d.sluice.SluiceV1alpha1().Rollouts(d.scope.namespace).List(withoutPatience(ctx), options)
	if err != nil {
		return nil, err
	}
	// The name is held against each once more: what is not meant must not be deleted.
	return slices.DeleteFunc(pointers(all.Items), func(r *v1alpha1.Rollout) bool {
		return d.scope.name != "" && r.Name != d.scope.name
	}), nil
}

// orphan deletes a Rollout in such a way that its ReplicaSets are kept.
func (d *detachment) orphan(ctx context.Context, r *v1alpha1.Rollout) error {
	orphan := metav1.DeletePropagationOrphan
	err := d.sluice.SluiceV1alpha1().Rollouts(r.Namespace).Delete(ctx, r.Name, metav1.DeleteOptions{
		PropagationPolicy: &orphan,
		Preconditions:     &metav1.Preconditions{UID: &r.UID},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// collect looks for all ReplicaSets in scope that refer to a Rollout, whatever their labels.
func (d *detachment) collect(ctx context.Context) error {
	var owned []*appsv1.ReplicaSet
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return d.kube.AppsV1().ReplicaSets(d.scope.namespace).List(ctx, options)
	})
	err := list.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		if rs := object.(*appsv1.ReplicaSet); d.reference(rs) != nil {
			owned = append(owned, rs)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.owned, d.held = owned, len(owned)
	return nil
}

// reference is the owner reference to a Rollout in scope that a ReplicaSet has; nil if it has none.
func (d *detachment) reference(rs *appsv1.ReplicaSet) *metav1.OwnerReference {
	for i := range rs.OwnerReferences {
		ref := &rs.OwnerReferences[i]
		version, err := schema.ParseGroupVersion(ref.APIVersion)
		if err == nil && version.Group == rollouts.GroupName && ref.Kind == "Rollout" && (d.scope.name == "" || ref.Name == d.scope.name) {
			return ref
		}
	}
	return nil
}

// settle works until no ReplicaSet refers to a Rollout that is gone or going, and tells of each that came
// free. It looks twice, since a controller that is behind may have adopted one again at the last moment. Then
// it waits for the garbage collector to let go of the Rollouts; when the time is over before that, all that
// matters to the pods is done, and that is no error.
func (d *detachment) settle(ctx context.Context, freed func(namespace, name string)) error {
	told := map[types.UID]bool{}
	began, clean := time.Now(), 0
	err := wait.PollUntilContextCancel(ctx, d.interval, true, func(ctx context.Context) (bool, error) {
		before := d.owned
		if err := d.look(ctx, time.Since(began) < d.grace); err != nil {
			return false, err
		}
		d.tell(before, told, freed)
		if d.held > 0 {
			clean = 0
			return false, nil
		}
		clean++
		return clean >= 2 && !slices.ContainsFunc(d.going, awaitsCollector), nil
	})
	if clean >= 2 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return err
}

// look reads what there is now, and takes off the references that nobody else will. With patient it leaves
// those to Rollouts that are being deleted to the garbage collector.
func (d *detachment) look(ctx context.Context, patient bool) error {
	present, err := d.present(ctx)
	if err != nil {
		return err
	}
	if err := d.collect(ctx); err != nil {
		return err
	}
	for _, rs := range d.owned {
		owner, there := present[d.reference(rs).UID]
		switch {
		case there && owner.DeletionTimestamp == nil:
			// Created since: it is not ours to detach.
			d.held--
		case !there || !patient:
			if err := d.strip(ctx, rs); err != nil {
				return err
			}
		}
	}
	return nil
}

// present are the Rollouts that there are now, by uid.
func (d *detachment) present(ctx context.Context) (map[types.UID]*v1alpha1.Rollout, error) {
	present := map[types.UID]*v1alpha1.Rollout{}
	if d.serverless {
		return present, nil
	}
	all, err := d.rollouts(ctx)
	if err != nil {
		return nil, err
	}
	d.going = nil
	for _, r := range all {
		present[r.UID] = r
		if r.DeletionTimestamp != nil {
			d.going = append(d.going, r)
		}
	}
	return present, nil
}

// awaitsCollector says whether nobody but the garbage collector keeps a Rollout from being gone.
func awaitsCollector(r *v1alpha1.Rollout) bool { return len(foreignFinalizers(r.Finalizers)) == 0 }

// foreignFinalizers are those that the garbage collector does not take off by itself.
func foreignFinalizers(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(finalizer string) bool {
		return finalizer == metav1.FinalizerOrphanDependents || finalizer == metav1.FinalizerDeleteDependents
	})
}

// tell names those that were owned before and are not any more, each once.
func (d *detachment) tell(before []*appsv1.ReplicaSet, told map[types.UID]bool, freed func(namespace, name string)) {
	still := map[types.UID]bool{}
	for _, rs := range d.owned {
		still[rs.UID] = true
	}
	for _, rs := range before {
		if !still[rs.UID] && !told[rs.UID] {
			told[rs.UID] = true
			freed(rs.Namespace, rs.Name)
		}
	}
}

// strip takes the reference to a Rollout off one state of a ReplicaSet. If that is not its state any more
// nothing happens, and the next look decides anew.
func (d *detachment) strip(ctx context.Context, rs *appsv1.ReplicaSet) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             rs.UID,
		"resourceVersion": rs.ResourceVersion,
		"ownerReferences": []map[string]any{{"$patch": "delete", "uid": d.reference(rs).UID}},
	}})
	if err != nil {
		return err
	}
	_, err = d.kube.AppsV1().ReplicaSets(rs.Namespace).Patch(ctx, rs.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
