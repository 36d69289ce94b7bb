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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// observation is one Rollout with the ReplicaSets and Services that concern it, from the caches or from the
// servers. What it points to may belong to a cache and is never modified.
type observation struct {
	// served is the Rollout as the API serves it.
	served *v1alpha1.Rollout
	// hub is the same Rollout as the engine knows it. It shares memory with served.
	hub *rollouts.Rollout
	// replicaSets are those that the Rollout controls and those that it may adopt.
	replicaSets []*appsv1.ReplicaSet
	// seenUpTo is the resourceVersion up to which changes of ReplicaSets are known.
	seenUpTo string
	// services are those that the Rollout names and those that it manages.
	services []*corev1.Service
	// servicesUpTo is the resourceVersion up to which changes of Services are known.
	servicesUpTo string
	// workload is the Deployment that the Rollout refers to; nil if it refers to none, or if that does not exist.
	workload *appsv1.Deployment
	// workloadsUpTo is the resourceVersion up to which changes of Deployments are known.
	workloadsUpTo string
}

var _ view = &observation{}

func (o *observation) rolloutVersion() string { return o.served.ResourceVersion }

func (o *observation) progress() string { return o.seenUpTo }

func (o *observation) replicaSet(uid types.UID) (resourceVersion string, deleting, found bool) {
	for _, rs := range o.replicaSets {
		if rs.UID == uid {
			return rs.ResourceVersion, rs.DeletionTimestamp != nil, true
		}
	}
	return "", false, false
}

func (o *observation) servicesProgress() string { return o.servicesUpTo }

func (o *observation) service(uid types.UID) (resourceVersion string, deleting, found bool) {
	for _, s := range o.services {
		if s.UID == uid {
			return s.ResourceVersion, s.DeletionTimestamp != nil, true
		}
	}
	return "", false, false
}

// snapshot is what is decided on. Pods are looked at in a restart, and where something is put on them.
func (t *term) snapshot(o *observation, page *entry) engine.Snapshot {
	s := engine.Snapshot{Rollout: o.hub, ReplicaSets: o.replicaSets, Services: o.services, Workload: o.workload, Now: t.config.Clock.Now()}
	if restarting(o.served) {
		s.EvictionRefused = page.refusedEviction(s.Now)
	}
	if restarting(o.served) || engine.LooksAtPods(o.hub, o.replicaSets) {
		s.Pods = t.podsOf(o.replicaSets)
		page.shown(s.Pods)
	}
	return s
}

func observe(served *v1alpha1.Rollout) *observation {
	hub := &rollouts.Rollout{}
	if err := v1alpha1.Convert_v1alpha1_Rollout_To_rollouts_Rollout(served, hub, nil); err != nil {
		panic("a Rollout that was served does not convert: " + err.Error())
	}
	return &observation{served: served, hub: hub}
}

// concerns tells whether a ReplicaSet is controlled by r, or may be adopted by it.
func concerns(r *v1alpha1.Rollout, rs *appsv1.ReplicaSet) bool {
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
		return owner.UID == r.UID
	}
	return rs.DeletionTimestamp == nil && selects(r, rs)
}

// fromCache observes a Rollout in the caches; nil if there is none.
func (c *Controller) fromCache(key types.NamespacedName) *observation {
	stored, exists, err := c.rollouts.GetStore().GetByKey(key.String())
	if err != nil || !exists {
		return nil
	}
	o := observe(stored.(*v1alpha1.Rollout))
	// Taken first, so that it never claims more than what is read after it.
	o.seenUpTo = c.replicaSets.GetStore().LastStoreSyncResourceVersion()
	o.replicaSets = c.replicaSetsOf(o.served)
	o.servicesUpTo = c.services.GetStore().LastStoreSyncResourceVersion()
	o.services = c.servicesOf(o.hub)
	o.workloadsUpTo = c.workloads.GetStore().LastStoreSyncResourceVersion()
	o.workload = c.workloadOf(o.hub)
	return o
}

// replicaSetsOf are the ReplicaSets in the cache that concern a Rollout.
func (c *Controller) replicaSetsOf(r *v1alpha1.Rollout) []*appsv1.ReplicaSet {
	var concerned []*appsv1.ReplicaSet
	for _, value := range []string{ownedBy(r.UID), orphansIn(r.Namespace)} {
		found, err := c.replicaSets.GetTypedIndexer().ByTypedIndex(controllerIndex, value)
		if err != nil {
			panic("the index of ReplicaSets by controller is missing: " + err.Error())
		}
		for _, rs := range found {
			if rs.Namespace == r.Namespace && concerns(r, rs) {
				concerned = append(concerned, rs)
			}
		}
	}
	return concerned
}

// fromServers observes a Rollout by consistent reads; nil if there is none. The caches are expected
// to catch up with it before they are believed again.
func (t *term) fromServers(ctx context.Context, key types.NamespacedName, page *entry) (*observation, error) {
	served, err := t.config.Rollouts.SluiceV1alpha1().Rollouts(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && served.UID != page.uid {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Rollout: %w", err)
	}
	o := observe(served)
	list, err := t.config.Host.AppsV1().ReplicaSets(key.Namespace).List(ctx, metav1.ListOptions{LabelSelector: hashedAndSelectedBy(served)})
	if err != nil {
		return nil, fmt.Errorf("reading the ReplicaSets: %w", err)
	}
	o.seenUpTo = list.ResourceVersion
	for i := range list.Items {
		if rs := &list.Items[i]; concerns(served, rs) {
			o.replicaSets = append(o.replicaSets, rs)
		}
	}
	if err := t.addRelabelled(ctx, o); err != nil {
		return nil, err
	}
	if err := t.readServices(ctx, o, page); err != nil {
		return nil, err
	}
	if err := t.readWorkload(ctx, o, page); err != nil {
		return nil, err
	}
	now := t.config.Clock.Now()
	page.expectRollout(served.ResourceVersion, now)
	for _, rs := range o.replicaSets {
		page.expectReplicaSet(rs.UID, rs.ResourceVersion, now)
	}
	return o, nil
}

// addRelabelled adds the ReplicaSets that the Rollout controls though its selector does not match
// their labels any more.
func (t *term) addRelabelled(ctx context.Context, o *observation) error {
	cached, err := t.replicaSets.GetTypedIndexer().ByTypedIndex(controllerIndex, ownedBy(o.served.UID))
	if err != nil {
		return err
	}
	for _, rs := range cached {
		if _, _, found := o.replicaSet(rs.UID); found || selects(o.served, rs) {
			continue
		}
		live, err := t.config.Host.AppsV1().ReplicaSets(rs.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading the ReplicaSets: %w", err)
		}
		if concerns(o.served, live) {
			o.replicaSets = append(o.replicaSets, live)
		}
	}
	return nil
}

// hashedAndSelectedBy is the selector of r, restricted to what carries our label.
func hashedAndSelectedBy(r *v1alpha1.Rollout) string {
	hashed, err := labels.NewRequirement(rollouts.PodTemplateHashLabel, selection.Exists, nil)
	if err != nil {
		panic("our own label is not a valid one: " + err.Error())
	}
	selector, err := metav1.LabelSelectorAsSelector(r.Spec.Selector)
	if err != nil || r.Spec.Selector == nil {
		return labels.NewSelector().Add(*hashed).String()
	}
	return selector.Add(*hashed).String()
}
