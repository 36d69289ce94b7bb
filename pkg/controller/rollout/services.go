// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

const (
	// managerIndex finds Services by the namespace and name of the Rollout that manages them.
	managerIndex = "manager"
	// servicesIndex finds Rollouts by the namespace and name of a Service that they name.
	servicesIndex = "services"
)

func indexByManager(s *corev1.Service) ([]string, error) {
	if by := s.Annotations[rollouts.ManagedByRolloutAnnotation]; by != "" {
		return []string{s.Namespace + "/" + by}, nil
	}
	return nil, nil
}

func indexByServices(r *v1alpha1.Rollout) ([]string, error) {
	var keys []string
	for _, name := range engine.ServicesNamed(observe(r).hub) {
		keys = append(keys, r.Namespace+"/"+name)
	}
	return keys, nil
}

// trimService keeps of a Service what Rollouts are about: where it leads, and who manages it. All Services of the
// cluster are in the cache, since none carries a label of ours: that would show which ones a Rollout names too late.
func trimService(obj any) (any, error) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return obj, nil // A deletion that was missed.
	}
	trimmed := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name:              s.Name,
			Namespace:         s.Namespace,
			UID:               s.UID,
			ResourceVersion:   s.ResourceVersion,
			DeletionTimestamp: s.DeletionTimestamp,
		},
		Spec: corev1.ServiceSpec{Selector: s.Spec.Selector},
	}
	if by, ok := s.Annotations[rollouts.ManagedByRolloutAnnotation]; ok {
		trimmed.Annotations = map[string]string{rollouts.ManagedByRolloutAnnotation: by}
	}
	return trimmed, nil
}

// handleServices makes every change of a Service one of the Rollouts that name it, and of the one that manages it.
func (c *Controller) handleServices() (cache.ResourceEventHandlerRegistration, error) {
	return c.services.AddTypedEventHandler(coreinformers.ServiceHandlerFuncs{
		AddFunc:    c.serviceSeen,
		UpdateFunc: c.serviceChanged,
		DeleteFunc: c.serviceGone,
	})
}

func (c *Controller) serviceSeen(s *corev1.Service) {
	c.enqueueNaming(cache.MetaObjectToName(s))
	c.enqueueManager(s)
}

func (c *Controller) serviceChanged(old, new *corev1.Service) {
	if old.ResourceVersion == new.ResourceVersion {
		return
	}
	if managerOf(old) != managerOf(new) {
		c.enqueueManager(old)
	}
	c.serviceSeen(new)
}

// serviceGone tells the Rollouts that name a Service. One that managed it without naming it has nothing more to do
// with it.
func (c *Controller) serviceGone(deleted coreinformers.DeletedService) {
	c.enqueueNaming(deleted.GetObjectName())
}

func managerOf(s *corev1.Service) string { return s.Annotations[rollouts.ManagedByRolloutAnnotation] }

func (c *Controller) enqueueManager(s *corev1.Service) {
	if by := managerOf(s); by != "" {
		c.enqueue(types.NamespacedName{Namespace: s.Namespace, Name: by})
	}
}

// enqueueNaming enqueues the Rollouts that name a Service.
func (c *Controller) enqueueNaming(service cache.ObjectName) {
	found, err := c.rollouts.GetTypedIndexer().ByTypedIndex(servicesIndex, service.String())
	if err != nil {
		panic("the index of Rollouts by Service is missing: " + err.Error())
	}
	for _, r := range found {
		c.enqueue(types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
	}
}

// servicesOf are the Services in the cache that a Rollout names, and those that it manages.
func (c *Controller) servicesOf(r *rollouts.Rollout) []*corev1.Service {
	var services []*corev1.Service
	for _, name := range engine.ServicesNamed(r) {
		if s := c.service(r.Namespace, name); s != nil && !slices.Contains(services, s) {
			services = append(services, s)
		}
	}
	for _, s := range c.managedBy(types.NamespacedName{Namespace: r.Namespace, Name: r.Name}) {
		if !slices.ContainsFunc(services, func(known *corev1.Service) bool { return known.Name == s.Name }) {
			services = append(services, s)
		}
	}
	return services
}

// service is a Service as the cache shows it; nil if it shows none.
func (c *Controller) service(namespace, name string) *corev1.Service {
	found, exists, err := c.services.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !exists {
		return nil
	}
	return found.(*corev1.Service)
}

// readServices observes the Services of a Rollout by consistent reads. The cache is expected to catch up with them, and
// to lose those that are gone: it must not be decided by a selector of the past.
func (t *term) readServices(ctx context.Context, o *observation, page *entry) error {
	cached := t.servicesOf(o.hub)
	names := engine.ServicesNamed(o.hub)
	for _, s := range cached {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	now := t.config.Clock.Now()
	for _, name := range slices.Compact(names) {
		live, err := t.config.Host.CoreV1().Services(o.served.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading Service %q: %w", name, err)
		}
		trimmed, err := trimService(live)
		if err != nil {
			return err
		}
		o.services = append(o.services, trimmed.(*corev1.Service))
		page.expectService(live.UID, live.ResourceVersion, now)
	}
	for _, s := range cached {
		if _, _, found := o.service(s.UID); !found {
			page.expectServiceGone(s.UID, now)
		}
	}
	return nil
}

// lead leads a Service to the pods of a ReplicaSet, if it still is in the state that was decided on.
func (t *term) lead(ctx context.Context, namespace string, page *entry, change engine.ServiceChange) error {
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": change.UID, "resourceVersion": change.ResourceVersion,
			"annotations": map[string]any{rollouts.ManagedByRolloutAnnotation: orNull(change.ManagedBy)},
		},
		"spec": map[string]any{"selector": map[string]any{rollouts.PodTemplateHashLabel: orNull(change.Hash)}},
	})
	if err != nil {
		return err
	}
	hostWrites.WithLabelValues("patch", "services").Inc()
	written, err := t.config.Host.CoreV1().Services(namespace).
		Patch(ctx, change.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return refusedAs("SwitchingServiceFailed", fmt.Sprintf("the selector of Service %q cannot be changed", change.Name), err)
	}
	page.expectService(written.UID, written.ResourceVersion, t.config.Clock.Now())
	page.wroteToHost(t.config.Clock.Now(), "Service %s to %s", change.Name, cmp.Or(change.Hash, "no revision"))
	return nil
}

// orNull is what a merge patch needs to set a value, or to remove an empty one.
func orNull(value string) any {
	if value == "" {
		return nil
	}
	return value
}
