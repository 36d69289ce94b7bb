// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	rolloutinformers "sluice.dev/sluice/pkg/generated/informers/externalversions/rollouts/v1alpha1"
)

// controllerIndex finds ReplicaSets by the UID of their controller, and those without one by their
// namespace.
const controllerIndex = "controller"

func indexByController(rs *appsv1.ReplicaSet) ([]string, error) {
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
		return []string{ownedBy(owner.UID)}, nil
	}
	return []string{orphansIn(rs.Namespace)}, nil
}

func ownedBy(uid types.UID) string      { return "uid/" + string(uid) }
func orphansIn(namespace string) string { return "namespace/" + namespace }

func indexByNamespace(r *v1alpha1.Rollout) ([]string, error) { return []string{r.Namespace}, nil }

// onlyHashed restricts a request to ReplicaSets that carry our label.
func onlyHashed(options *metav1.ListOptions) { options.LabelSelector = rollouts.PodTemplateHashLabel }

// phaseCount keeps sluice_rollouts right. Only the event handler of Rollouts uses it.
type phaseCount map[cache.ObjectName]counted

// counted is what a Rollout is counted under.
type counted struct{ phase, strategy string }

func (p phaseCount) set(name cache.ObjectName, now counted) {
	if old := p[name]; old != now {
		p.forget(name)
		p[name] = now
		rolloutPhases.WithLabelValues(now.phase, now.strategy).Inc()
	}
}

func (p phaseCount) forget(name cache.ObjectName) {
	if old, ok := p[name]; ok {
		rolloutPhases.WithLabelValues(old.phase, old.strategy).Dec()
		delete(p, name)
	}
}

// forgetAll is for the end of the caches.
func (p phaseCount) forgetAll() {
	for name := range p {
		p.forget(name)
	}
}

// handleEvents makes every change of a Rollout, or of a ReplicaSet or Service that concerns one, a reason to
// look at that Rollout at once.
func (c *Controller) handleEvents() error {
	onRollouts, err := c.rollouts.AddTypedEventHandler(rolloutinformers.RolloutHandlerFuncs{
		AddFunc: c.rolloutSeen,
		UpdateFunc: func(old, new *v1alpha1.Rollout) {
			if old.ResourceVersion != new.ResourceVersion {
				c.rolloutSeen(new)
			}
		},
		DeleteFunc: func(deleted rolloutinformers.DeletedRollout) {
			c.phases.forget(deleted.GetObjectName())
			c.changes.forget(deleted.GetObjectName().AsNamespacedName())
			c.enqueue(deleted.GetObjectName().AsNamespacedName())
		},
	})
	if err != nil {
		return err
	}
	onReplicaSets, err := c.replicaSets.AddTypedEventHandler(appsinformers.ReplicaSetHandlerFuncs{
		AddFunc:    c.replicaSetSeen,
		UpdateFunc: c.replicaSetChanged,
		DeleteFunc: c.replicaSetGone,
	})
	if err != nil {
		return err
	}
	onPods, err := c.handlePods()
	if err != nil {
		return err
	}
	onServices, err := c.handleServices()
	if err != nil {
		return err
	}
	onWorkloads, err := c.handleWorkloads()
	c.handlers = append(c.handlers, onRollouts, onReplicaSets, onPods, onServices, onWorkloads)
	return err
}

func (c *Controller) rolloutSeen(r *v1alpha1.Rollout) {
	name := cache.MetaObjectToName(r)
	c.phases.set(name, counted{phaseLabel(r), strategyLabel(r)})
	c.changes.seen(r, c.config.Clock.Now())
	c.enqueue(name.AsNamespacedName())
}

// replicaSetSeen enqueues the Rollout that controls rs, or, if nothing controls it, every Rollout
// that could adopt it.
func (c *Controller) replicaSetSeen(rs *appsv1.ReplicaSet) {
	if metav1.GetControllerOfNoCopy(rs) != nil {
		c.enqueueController(rs)
		return
	}
	for _, r := range c.rolloutsIn(rs.Namespace) {
		if selects(r, rs) {
			c.enqueue(types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
		}
	}
}

func (c *Controller) replicaSetChanged(old, new *appsv1.ReplicaSet) {
	if old.ResourceVersion == new.ResourceVersion {
		return
	}
	if owner := metav1.GetControllerOfNoCopy(old); owner != nil && !metav1.IsControlledBy(new, &metav1.ObjectMeta{UID: owner.UID}) {
		c.enqueueController(old)
	}
	c.replicaSetSeen(new)
}

// replicaSetGone enqueues the Rollout that controlled the ReplicaSet. If the cache has missed the
// deletion and lost the object too, it could have been that of any Rollout of the namespace.
func (c *Controller) replicaSetGone(deleted appsinformers.DeletedReplicaSet) {
	if rs := deleted.OptionalObj; rs != nil {
		c.enqueueController(rs)
		return
	}
	for _, r := range c.rolloutsIn(deleted.GetObjectName().Namespace) {
		c.enqueue(types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
	}
}

// enqueueController enqueues the controller of rs if that is a Rollout.
func (c *Controller) enqueueController(rs *appsv1.ReplicaSet) {
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil || owner.Kind != "Rollout" {
		return
	}
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || gv.Group != v1alpha1.GroupName {
		return
	}
	c.enqueue(types.NamespacedName{Namespace: rs.Namespace, Name: owner.Name})
}

// enqueue has the Rollout looked at, if this replica leads. One that does not need not remember: it
// looks at all Rollouts when it begins to lead.
func (c *Controller) enqueue(key types.NamespacedName) {
	c.config.Changed(key)
	if t := c.leading.Load(); t != nil {
		t.queue.Add(key)
	}
}

func (c *Controller) rolloutsIn(namespace string) []*v1alpha1.Rollout {
	found, err := c.rollouts.GetTypedIndexer().ByTypedIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		panic("the index of Rollouts by namespace is missing: " + err.Error())
	}
	return found
}

// selects tells whether the selector of r matches the labels of rs, one of which is our hash.
func selects(r *v1alpha1.Rollout, rs *appsv1.ReplicaSet) bool {
	if _, hashed := rs.Labels[rollouts.PodTemplateHashLabel]; !hashed {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(r.Spec.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(rs.Labels))
}
