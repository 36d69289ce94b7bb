// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// adopter is a Deployment that adopts ReplicaSets as soon as they are without an owner: its controller does, with those
// that its selector matches.
type adopter struct {
	deployment *appsv1.Deployment
	selector   labels.Selector
	// first is one of the ReplicaSets, rollout the Rollout that has them, replicas how many pods they are to have.
	first, rollout string
	replicas       int32
}

// refuseAdopters fails if a Deployment would take what is let go of for revisions of its own, of which it is to have
// fewer pods. present are the Rollouts in scope, none if the server is gone.
func (d *detachment) refuseAdopters(ctx context.Context, present []*v1alpha1.Rollout) error {
	adopters, err := d.adopters(ctx)
	if err != nil {
		return err
	}
	var no []string
	for _, a := range adopters {
		w := a.deployment
		have := ptr.Deref(w.Spec.Replicas, 1)
		if a.replicas <= have {
			continue
		}
		first := fmt.Sprintf("'kubectl scale deployment %s --namespace %s --replicas=%d'", w.Name, w.Namespace, a.replicas)
		if slices.ContainsFunc(present, func(r *v1alpha1.Rollout) bool {
			return r.Namespace == w.Namespace && r.Name == a.rollout && r.Spec.WorkloadRef != nil && r.Spec.WorkloadRef.Name == w.Name
		}) {
			first = fmt.Sprintf("'kubectl sluice migrate --back %s --namespace %s'", a.rollout, w.Namespace)
		}
		no = append(no, fmt.Sprintf("deployment.apps/%s in namespace %s, which is to have %d pods, would adopt replicaset.apps/%s of %s and scale its pods down, %d in all: first %s",
			w.Name, w.Namespace, have, a.first, printed(a.rollout), a.replicas, first))
	}
	if len(no) == 0 {
		return nil
	}
	return errors.New("nothing was detached: " + strings.Join(no, "\n  "))
}

// adopters are the Deployments that would adopt ReplicaSets in scope.
func (d *detachment) adopters(ctx context.Context) ([]*adopter, error) {
	var found []*adopter
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return d.kube.AppsV1().Deployments(d.scope.namespace).List(ctx, options)
	})
	err := list.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		w := object.(*appsv1.Deployment)
		selector, err := metav1.LabelSelectorAsSelector(w.Spec.Selector)
		if err != nil || selector.Empty() {
			return nil // Its controller does nothing with it either.
		}
		found = append(found, &adopter{deployment: w, selector: selector})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, rs := range d.owned {
		for _, a := range found {
			if a.deployment.Namespace != rs.Namespace || !a.selector.Matches(labels.Set(rs.Labels)) || ptr.Deref(rs.Spec.Replicas, 1) == 0 {
				continue
			}
			a.replicas += ptr.Deref(rs.Spec.Replicas, 1)
			a.first, a.rollout = rs.Name, d.reference(rs).Name
		}
	}
	return found, nil
}
