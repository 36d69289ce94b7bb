// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/engine"
)

// managers are the names of the Rollouts that Services say they are managed by, whether these exist or not.
func (c *Controller) managers() []types.NamespacedName {
	var keys []types.NamespacedName
	for _, value := range c.services.GetTypedIndexer().ListIndexFuncValues(managerIndex) {
		if name, err := cache.ParseObjectName(value); err == nil {
			keys = append(keys, name.AsNamespacedName())
		}
	}
	return keys
}

// managedBy are the Services in the cache that a Rollout manages.
func (c *Controller) managedBy(key types.NamespacedName) []*corev1.Service {
	found, err := c.services.GetTypedIndexer().ByTypedIndex(managerIndex, key.String())
	if err != nil {
		panic("the index of Services by manager is missing: " + err.Error())
	}
	return found
}

// releaseServices gives back what a Rollout managed that is gone, as engine.Bereft says. The server is asked whether it
// is: a cache may not show it yet. It is looked at again when one of its ReplicaSets goes, or one of the Services changes.
func (t *term) releaseServices(ctx context.Context, key types.NamespacedName) error {
	managed := t.managedBy(key)
	if len(managed) == 0 {
		return nil
	}
	var left []*appsv1.ReplicaSet
	for _, obj := range t.replicaSets.GetStore().List() {
		if rs := obj.(*appsv1.ReplicaSet); rs.Namespace == key.Namespace {
			left = append(left, rs)
		}
	}
	changes := engine.Bereft(managed, left)
	if len(changes) == 0 {
		return nil
	}
	_, err := t.config.Rollouts.SluiceV1alpha1().Rollouts(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err == nil {
		return fmt.Errorf("the cache does not show the Rollout: %w", errConflict)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading the Rollout whose Services are to be released: %w", err)
	}
	page := t.ledger.entry(key, "")
	defer t.ledger.forget(key)
	defer func() {
		if len(page.account.writes) > 0 {
			klog.FromContext(ctx).Info("Decided", "wrote", page.account.writes, "why", "the Rollout is gone")
		}
	}()
	for _, change := range changes {
		if err := t.lead(ctx, key.Namespace, page, change); err != nil {
			return err
		}
	}
	return nil
}
