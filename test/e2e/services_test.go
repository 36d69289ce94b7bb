// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

const (
	hashLabel     = "sluice.dev/pod-template-hash"
	managedBy     = "sluice.dev/managed-by-rollout"
	holdPods      = "example.com/hold"
	roleLabel     = "role"
	scaleDownMark = "sluice.dev/scale-down-deadline"
)

// newBlueGreen is a Rollout of the version "one" whose activeService has its name, and whose previewService that with
// "-preview" behind it.
func newBlueGreen(name string, replicas int32, edits ...func(*v1alpha1.BlueGreenStrategy)) *v1alpha1.Rollout {
	r := newRollout(name, replicas)
	r.Spec.Strategy = v1alpha1.RolloutStrategy{BlueGreen: &v1alpha1.BlueGreenStrategy{ActiveService: name, PreviewService: name + "-preview"}}
	for _, edit := range edits {
		edit(r.Spec.Strategy.BlueGreen)
	}
	return r
}

// untilPromoted keeps a new version waiting for a promote.
func untilPromoted(b *v1alpha1.BlueGreenStrategy) { b.AutoPromotionEnabled = ptr.To(false) }

// lingering keeps old versions for so long.
func lingering(seconds int32) func(*v1alpha1.BlueGreenStrategy) {
	return func(b *v1alpha1.BlueGreenStrategy) { b.ScaleDownDelaySeconds = ptr.To(seconds) }
}

// promotedAfter promotes a new version that waited for so long.
func promotedAfter(seconds int32) func(*v1alpha1.BlueGreenStrategy) {
	return func(b *v1alpha1.BlueGreenStrategy) { b.AutoPromotionSeconds = ptr.To(seconds) }
}

// previewing brings up so many pods of a new version before it is promoted.
func previewing(pods int32) func(*v1alpha1.BlueGreenStrategy) {
	return func(b *v1alpha1.BlueGreenStrategy) { b.PreviewReplicaCount = ptr.To(pods) }
}

// service makes a Service that selects the pods of a Rollout.
func (s *scenario) service(name, rollout string) {
	s.Helper()
	_, err := s.Host.CoreV1().Services(s.namespace).Create(s.ctx(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": rollout}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	s.must(err)
}

// deployBehind makes the Services that a Rollout names, stores it and waits until it is Healthy.
func (s *scenario) deployBehind(r *v1alpha1.Rollout) *v1alpha1.Rollout {
	s.Helper()
	if b := r.Spec.Strategy.BlueGreen; b != nil {
		s.service(b.ActiveService, r.Name)
		s.service(b.PreviewService, r.Name)
	}
	if c := r.Spec.Strategy.Canary; c != nil {
		s.service(c.CanaryService, r.Name)
		s.service(c.StableService, r.Name)
	}
	return s.deploy(r)
}

// services are the Services of the namespace with this name, or all of them if it is empty.
func (s *scenario) services(name string) cluster.Source[*corev1.Service] {
	client, options := s.Host.CoreV1().Services(s.namespace), metav1.ListOptions{}
	if name != "" {
		options = cluster.Named(name)
	}
	return cluster.SourceOf[*corev1.Service]("services "+name+" of "+s.namespace, client, options)
}

// awaitLed waits until a Service leads to the pods of a hash; to all pods if it is empty.
func (s *scenario) awaitLed(service, hash string) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.services(service), func(found []*corev1.Service) string {
		if len(found) == 0 {
			return "it does not exist"
		}
		got := found[0].Spec.Selector[hashLabel]
		return unless(got == hash, fmt.Sprintf("a selector with %q; it has %q", hash, got))
	})
	s.must(err)
}

// hashOf is the hash of the ReplicaSet of a version.
func (s *scenario) hashOf(r *v1alpha1.Rollout, tag string) string {
	s.Helper()
	for _, set := range s.sets(r) {
		if cluster.Tag(&set.Spec.Template.Spec) == tag {
			return set.Labels[hashLabel]
		}
	}
	s.Fatalf("there is no ReplicaSet of %s", tag)
	return ""
}

// awaitCounts waits until the status counts so many pods: current, updated, ready, available, with so many desired.
func (s *scenario) awaitCounts(name string, want [5]int32) *v1alpha1.Rollout {
	s.Helper()
	return s.await(name, func(r *v1alpha1.Rollout) string {
		got := [5]int32{ptr.Deref(r.Spec.Replicas, 1), r.Status.Replicas, r.Status.UpdatedReplicas, r.Status.ReadyReplicas, r.Status.AvailableReplicas}
		return unless(got == want, fmt.Sprintf("%v pods (desired, current, updated, ready, available); there are %v, and it is %s: %s", want, got, r.Status.Phase, r.Status.Message))
	})
}

// awaitSizes waits until the ReplicaSets of the versions have these sizes. Versions that are not named are left out.
func (s *scenario) awaitSizes(r *v1alpha1.Rollout, want map[string]int32) {
	s.Helper()
	s.eventually(fmt.Sprintf("ReplicaSets of the sizes %v", want), func(context.Context) bool {
		got := map[string]int32{}
		for _, set := range s.sets(r) {
			if tag := cluster.Tag(&set.Spec.Template.Spec); hasKey(want, tag) {
				got[tag] = *set.Spec.Replicas
			}
		}
		return maps.Equal(got, want)
	})
}

func hasKey(all map[string]int32, key string) bool {
	_, has := all[key]
	return has
}

// held makes the pods of the next version wait for letGo.
func held(tag string) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		r.Spec.Template.Spec.Containers[0].Image = image(tag)
		r.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: holdPods}}
	}
}

// letGo lets the pods of a version be scheduled that are held.
func (s *scenario) letGo(r *v1alpha1.Rollout, tag string) {
	s.Helper()
	pods, err := s.Pods(s.namespace, r.Status.Selector).Now(s.ctx())
	s.must(err)
	for _, pod := range pods {
		if cluster.Tag(&pod.Spec) == tag && len(pod.Spec.SchedulingGates) > 0 {
			s.letGoOne(pod)
		}
	}
}

// awaitRoles waits until the available pods have these values of a label: so many of each, by version and value.
func (s *scenario) awaitRoles(r *v1alpha1.Rollout, want map[string]int) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.Pods(s.namespace, r.Status.Selector), func(pods []*corev1.Pod) string {
		got := map[string]int{}
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil && cluster.Ready(pod) {
				got[cluster.Tag(&pod.Spec)+" "+pod.Labels[roleLabel]]++
			}
		}
		return unless(maps.Equal(got, want), fmt.Sprintf("%v; there are %v", want, got))
	})
	s.must(err)
}

// neverEmpty watches Services and pods until the end of the test, and fails it if one of the Services ever selects no
// available pod while there are some. States in between the two watches cannot be told apart, so a Service that seems to
// lead nowhere is read again, with the pods, before it counts.
func (s *scenario) neverEmpty(r *v1alpha1.Rollout, names ...string) {
	s.Helper()
	ctx, stop := context.WithCancel(s.Context())
	var running sync.WaitGroup
	for _, name := range names {
		running.Go(func() {
			_, err := cluster.Await(ctx, s.Pods(s.namespace, r.Status.Selector), func([]*corev1.Pod) string {
				s.servesNow(ctx, r, name)
				return "the end"
			})
			if ctx.Err() == nil {
				s.Errorf("the watch of the pods behind %s ended: %v", name, err)
			}
		})
		running.Go(func() {
			_, err := cluster.Await(ctx, s.services(name), func([]*corev1.Service) string {
				s.servesNow(ctx, r, name)
				return "the end"
			})
			if ctx.Err() == nil {
				s.Errorf("the watch of %s ended: %v", name, err)
			}
		})
	}
	s.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// servesNow fails the test if a Service selects no available pod, though there are some: its selector is the same
// before and after the pods are read, so it was meant for them.
func (s *scenario) servesNow(ctx context.Context, r *v1alpha1.Rollout, name string) {
	before, err := s.Host.CoreV1().Services(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return // The end of the test, or a Service that is not there.
	}
	pods, err := s.Pods(s.namespace, r.Status.Selector).Now(ctx)
	if err != nil {
		return
	}
	after, err := s.Host.CoreV1().Services(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil || !maps.Equal(before.Spec.Selector, after.Spec.Selector) {
		return
	}
	serving, available := 0, 0
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil || !cluster.Ready(pod) {
			continue
		}
		available++
		if labels.SelectorFromSet(before.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			serving++
		}
	}
	if serving == 0 && available > 0 {
		s.Errorf("Service %s with selector %v leads to none of %d available pods", name, before.Spec.Selector, available)
	}
}

// letGoOne lets a pod be scheduled that is held.
func (s *scenario) letGoOne(pod *corev1.Pod) {
	s.Helper()
	_, err := s.Host.CoreV1().Pods(s.namespace).Patch(s.ctx(), pod.Name, types.MergePatchType, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{})
	s.must(err)
}
