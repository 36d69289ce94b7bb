// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/live"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// childSelector chooses what may belong to a Rollout. Which of them do is told by their owners.
func childSelector(r *v1alpha1.Rollout) (metav1.ListOptions, error) {
	selector := r.Spec.Selector.DeepCopy()
	if selector == nil {
		selector = &metav1.LabelSelector{}
	}
	selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
		Key: rollouts.PodTemplateHashLabel, Operator: metav1.LabelSelectorOpExists,
	})
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return metav1.ListOptions{}, fmt.Errorf("spec.selector of %s: %w", printed(r.Name), err)
	}
	return metav1.ListOptions{LabelSelector: parsed.String()}, nil
}

// snapshot reads what belongs to a Rollout.
func (c *cluster) snapshot(ctx context.Context, r *v1alpha1.Rollout) (view.Snapshot, error) {
	options, err := childSelector(r)
	if err != nil {
		return view.Snapshot{}, err
	}
	replicaSets, err := c.kube.AppsV1().ReplicaSets(r.Namespace).List(ctx, options)
	if err != nil {
		return view.Snapshot{}, err
	}
	pods, err := c.kube.CoreV1().Pods(r.Namespace).List(ctx, options)
	if err != nil {
		return view.Snapshot{}, err
	}
	return view.Snapshot{Rollout: r, ReplicaSets: pointers(replicaSets.Items), Pods: pointers(pods.Items)}, nil
}

// followRollout adds a Rollout and what belongs to it to a feed. The function that it returns fails when
// the Rollout is gone; one of the same name that was created since is another one.
func (c *cluster) followRollout(feed *live.Feed, first *v1alpha1.Rollout) (func() (view.Snapshot, error), error) {
	options, err := childSelector(first)
	if err != nil {
		return nil, err
	}
	named := c.followOne(feed, first)
	replicaSets := live.Follow[appsv1.ReplicaSet](feed, "ReplicaSets", c.kube.AppsV1().ReplicaSets(first.Namespace), options)
	pods := live.Follow[corev1.Pod](feed, "pods", c.kube.CoreV1().Pods(first.Namespace), options)
	return func() (view.Snapshot, error) {
		r, err := named()
		if err != nil {
			return view.Snapshot{}, err
		}
		return view.Snapshot{Rollout: r, ReplicaSets: replicaSets(), Pods: pods()}, nil
	}, nil
}

// followOne adds only the Rollout itself.
func (c *cluster) followOne(feed *live.Feed, first *v1alpha1.Rollout) func() (*v1alpha1.Rollout, error) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, first.Name).String()}
	all := live.Follow[v1alpha1.Rollout](feed, "the Rollout", c.sluice.SluiceV1alpha1().Rollouts(first.Namespace), options)
	return func() (*v1alpha1.Rollout, error) {
		for _, r := range all() {
			if r.UID == first.UID && r.Name == first.Name {
				return r, nil
			}
		}
		return nil, fmt.Errorf("%s was deleted", printed(first.Name))
	}
}

func pointers[T any](items []T) []*T {
	result := make([]*T, 0, len(items))
	for i := range items {
		result = append(result, &items[i])
	}
	return result
}
