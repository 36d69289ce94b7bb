// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

const (
	// crowdNamespaces is over how many namespaces the ReplicaSets are spread, crowdRollouts how many Rollouts are in
	// each of them.
	crowdNamespaces, crowdRollouts = 10, 10
	// crowdPods is how many pods each of the Rollouts has, crowdHistory how many old ReplicaSets without pods.
	crowdPods, crowdHistory = 3, 9
)

// Trees is how long it took to see one Rollout with its ReplicaSets and pods in a crowded cluster.
type Trees struct {
	// Frame is from the start of the plugin until its first frame was read.
	Frame []time.Duration
	// Read is one request for the tree.
	Read []time.Duration
	// Listed is what a client does that draws the tree by itself: it reads the Rollout, and lists the ReplicaSets and
	// the pods of the namespace, all at the same time and from the caches of the API servers.
	Listed []time.Duration
}

// crowd is many ReplicaSets. Some belong to Rollouts; the rest to nobody, so that a controller has to look at them to
// know that they do not concern it.
type crowd struct {
	*Clients
	namespaces  []string
	replicaSets int
}

// Trees fills the cluster with ReplicaSets, and looks at one Rollout after the other.
func (c *Clients) Trees(ctx context.Context, plugin Plugin, prefix string, replicaSets, samples int) (Trees, error) {
	all := crowd{Clients: c, replicaSets: replicaSets}
	for i := range crowdNamespaces {
		all.namespaces = append(all.namespaces, fmt.Sprintf("%s-%d", prefix, i))
	}
	var measured Trees
	err := c.withNamespaces(ctx, all.namespaces, func() error {
		if err := all.create(ctx); err != nil {
			return err
		}
		for i := -crowdNamespaces; i < samples; i++ {
			if err := all.look(ctx, plugin, i, &measured); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Trees{}, fmt.Errorf("drawing trees: %w", err)
	}
	return measured, nil
}

// look takes one sample of each kind. Those before 0 warm up.
func (c crowd) look(ctx context.Context, plugin Plugin, sample int, measured *Trees) error {
	at := (sample + crowdNamespaces) % (crowdNamespaces * crowdRollouts)
	namespace, name := c.namespaces[at%crowdNamespaces], rolloutName(at/crowdNamespaces)
	frame, err := plugin.firstFrame(ctx, namespace, name, crowdHistory+1, crowdPods)
	if err != nil {
		return err
	}
	began := time.Now()
	tree, err := c.rollouts.SluiceV1alpha1().RolloutTrees(namespace).Get(ctx, name, metav1.GetOptions{})
	read := time.Since(began)
	if err != nil {
		return err
	}
	if seen := replicaSetsOf(tree); seen != crowdHistory+1 {
		return fmt.Errorf("the tree of %s/%s has %d ReplicaSets, not %d", namespace, name, seen, crowdHistory+1)
	}
	began = time.Now()
	if err := c.readAndList(ctx, namespace, name); err != nil {
		return err
	}
	listed := time.Since(began)
	if sample >= 0 {
		measured.Frame, measured.Read, measured.Listed = append(measured.Frame, frame), append(measured.Read, read), append(measured.Listed, listed)
	}
	return nil
}

// readAndList asks for all that a client needs that draws the tree by itself.
func (c crowd) readAndList(ctx context.Context, namespace, name string) error {
	group, ctx := errgroup.WithContext(ctx)
	cached := metav1.ListOptions{ResourceVersion: "0"}
	group.Go(func() error {
		_, err := c.rollouts.SluiceV1alpha1().Rollouts(namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
		return err
	})
	group.Go(func() error {
		list, err := c.host.AppsV1().ReplicaSets(namespace).List(ctx, cached)
		if err == nil && len(list.Items) != c.replicaSets/crowdNamespaces {
			return fmt.Errorf("namespace %s has %d ReplicaSets, not %d", namespace, len(list.Items), c.replicaSets/crowdNamespaces)
		}
		return err
	})
	group.Go(func() error {
		_, err := c.host.CoreV1().Pods(namespace).List(ctx, cached)
		return err
	})
	return group.Wait()
}

func rolloutName(i int) string { return fmt.Sprintf("rollout-%d", i) }

func replicaSetsOf(tree *v1alpha1.RolloutTree) int {
	count := 0
	for _, revision := range tree.Revisions {
		count += len(revision.ReplicaSets)
	}
	return count
}

// create makes Rollouts, waits for their pods, and adds ReplicaSets until there are enough of them.
func (c crowd) create(ctx context.Context) error {
	var owners []*v1alpha1.Rollout
	for _, namespace := range c.namespaces {
		created, err := c.createRollouts(ctx, namespace)
		if err != nil {
			return err
		}
		owners = append(owners, created...)
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(crowdSenders)
	for i := range c.replicaSets - len(owners) {
		group.Go(func() error {
			_, err := c.host.AppsV1().ReplicaSets(c.namespaces[i%crowdNamespaces]).Create(inner, oldReplicaSet(i, owners), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.waitObserved(ctx)
}

// crowdSenders is how many ReplicaSets are created at the same time.
const crowdSenders = 32

func (c crowd) createRollouts(ctx context.Context, namespace string) ([]*v1alpha1.Rollout, error) {
	kind := c.Rollouts(Weights(50))
	watching, stop := context.WithCancel(ctx)
	defer stop()
	tracker, err := track(watching, kind, namespace)
	if err != nil {
		return nil, err
	}
	for i := range crowdRollouts {
		if err := kind.create(ctx, namespace, rolloutName(i), crowdPods); err != nil {
			return nil, err
		}
	}
	if _, err := tracker.waitAll(ctx, crowdRollouts, complete(firstImage)); err != nil {
		return nil, err
	}
	var owners []*v1alpha1.Rollout
	for i := range crowdRollouts {
		r, err := c.rollouts.SluiceV1alpha1().Rollouts(namespace).Get(ctx, rolloutName(i), metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		owners = append(owners, r)
	}
	return owners, nil
}

// oldReplicaSet is one without pods. The first ones are the history of the owners, which are sorted by namespace as
// ReplicaSets are dealt out; the others belong to nobody.
func oldReplicaSet(i int, owners []*v1alpha1.Rollout) *appsv1.ReplicaSet {
	name := fmt.Sprintf("old-%05d", i)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Template: template(name)},
	}
	if i < len(owners)*crowdHistory {
		namespace, turn := i%crowdNamespaces, i/crowdNamespaces
		owner := owners[namespace*crowdRollouts+turn%crowdRollouts]
		rs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, v1alpha1.SchemeGroupVersion.WithKind("Rollout"))}
		rs.Spec.Template = template(owner.Name)
	}
	rs.Spec.Template.Spec.Containers[0].Image = name
	rs.Spec.Template.Labels[rollouts.PodTemplateHashLabel] = name
	rs.Labels, rs.Spec.Selector = rs.Spec.Template.Labels, &metav1.LabelSelector{MatchLabels: rs.Spec.Template.Labels}
	return rs
}

// waitObserved waits until the host's controller has nothing left to do about any ReplicaSet.
func (c crowd) waitObserved(ctx context.Context) error {
	for _, namespace := range c.namespaces {
		err := poll(ctx, "the ReplicaSets of "+namespace+" to be observed", func(ctx context.Context) (bool, error) {
			list, err := c.host.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				return false, err
			}
			for i := range list.Items {
				if list.Items[i].Status.ObservedGeneration < list.Items[i].Generation {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return pause(ctx, settle)
}
