// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

var (
	argoResource = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}
	crdResource  = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// argoRevision and argoManagedBy are what Argo Rollouts annotates ReplicaSets and Services with.
const (
	argoRevision  = "rollout.argoproj.io/revision"
	argoManagedBy = "argo-rollouts.argoproj.io/managed-by-rollouts"
)

// serveArgo makes the cluster serve Rollouts of Argo's, which nobody acts on.
func (s *scenario) serveArgo() {
	s.Helper()
	open := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "rollouts.argoproj.io"},
		"spec": map[string]any{
			"group": "argoproj.io", "scope": "Namespaced",
			"names": map[string]any{"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "listKind": "RolloutList"},
			"versions": []any{map[string]any{
				"name": "v1alpha1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object",
					"properties": map[string]any{
						"spec": map[string]any{
							"type": "object", "x-kubernetes-preserve-unknown-fields": true,
							"properties": map[string]any{
								"replicas": map[string]any{"type": "integer"}, "paused": map[string]any{"type": "boolean"},
								"selector": open, "template": open, "strategy": open,
							},
						},
						"status": open,
					},
				}},
			}},
		},
	}}
	_, err := s.Dynamic.Resource(crdResource).Create(s.ctx(), crd, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		err := s.Dynamic.Resource(crdResource).Delete(context.WithoutCancel(s.Context()), "rollouts.argoproj.io", metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			s.Error(err)
		}
	})
	s.eventually("Rollouts of Argo's to be served", func(ctx context.Context) bool {
		_, err := s.Dynamic.Resource(argoResource).Namespace(s.namespace).List(ctx, metav1.ListOptions{})
		return err == nil
	})
}

// argoHealthy makes what Argo Rollouts would have: a Healthy Rollout at revision 4 with its pods, an older revision
// without any, and the Service that leads to the stable one.
func (s *scenario) argoHealthy(name string, replicas int32) {
	s.Helper()
	plain := manifest(newRollout(name, replicas, weight(50), pause()))
	plain["apiVersion"] = argoResource.GroupVersion().String()
	canary := plain["spec"].(map[string]any)["strategy"].(map[string]any)["canary"].(map[string]any)
	canary["stableService"] = name
	plain["status"] = map[string]any{"phase": "Healthy", "observedGeneration": "1", "currentPodHash": "6d8f5", "stableRS": "6d8f5"}
	made := s.createArgo(plain)
	s.argoSet(made, "5c7b9", "zero", "3", 0)
	s.argoSet(made, "6d8f5", "one", "4", replicas)
	_, err := s.Host.CoreV1().Services(s.namespace).Create(s.ctx(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{argoManagedBy: name}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name, rollouts.ArgoPodTemplateHashLabel: "6d8f5"},
			Ports:    []corev1.ServicePort{{Port: 80}},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.awaitSets(name, 2)
}

// awaitSets waits until an application has so many ReplicaSets, with all the pods that they ask for.
func (s *scenario) awaitSets(name string, count int) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.ReplicaSets(s.namespace, "app="+name), func(sets []*appsv1.ReplicaSet) string {
		for _, set := range sets {
			if set.Status.AvailableReplicas != *set.Spec.Replicas || set.Status.ObservedGeneration != set.Generation {
				return fmt.Sprintf("%s to have %d available pods, it has %d", set.Name, *set.Spec.Replicas, set.Status.AvailableReplicas)
			}
		}
		return unless(len(sets) == count, fmt.Sprintf("%d ReplicaSets", count))
	})
	s.must(err)
}

func (s *scenario) createArgo(plain map[string]any) *unstructured.Unstructured {
	s.Helper()
	made, err := s.Dynamic.Resource(argoResource).Namespace(s.namespace).Create(s.ctx(), &unstructured.Unstructured{Object: plain}, metav1.CreateOptions{})
	s.must(err)
	if made.GetGeneration() != 1 {
		s.Fatalf("made with generation %d", made.GetGeneration())
	}
	return made
}

// argoSet makes a ReplicaSet as Argo Rollouts makes them.
func (s *scenario) argoSet(owner *unstructured.Unstructured, hash, tag, revision string, pods int32) {
	s.Helper()
	name := owner.GetName()
	labels := map[string]string{"app": name, rollouts.ArgoPodTemplateHashLabel: hash}
	_, err := s.Host.AppsV1().ReplicaSets(s.namespace).Create(s.ctx(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-" + hash, Labels: labels, Annotations: map[string]string{argoRevision: revision},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: name, UID: owner.GetUID(), Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &pods, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image(tag)}}},
			},
		},
	}, metav1.CreateOptions{})
	s.must(err)
}

// selectors follows what a Service selects, until it is asked.
func (s *scenario) selectors(service string) func() []map[string]string {
	s.Helper()
	const last = "last"
	ctx := s.ctx()
	w, err := s.Host.CoreV1().Services(s.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + service})
	s.must(err)
	seen := make(chan []map[string]string, 1)
	go func() {
		defer close(seen)
		defer w.Stop()
		var all []map[string]string
		for event := range w.ResultChan() {
			service, ok := event.Object.(*corev1.Service)
			if !ok {
				return
			}
			all = append(all, service.Spec.Selector)
			if service.Labels[last] != "" {
				seen <- all
				return
			}
		}
	}()
	return func() []map[string]string {
		s.Helper()
		// The watch shows this after all that was written before.
		patch := []byte(`{"metadata":{"labels":{"` + last + `":"true"}}}`)
		_, err := s.Host.CoreV1().Services(s.namespace).Patch(s.ctx(), service, types.MergePatchType, patch, metav1.PatchOptions{})
		s.must(err)
		all, ok := <-seen
		if !ok {
			s.Fatal("the watch of the Service has ended too early")
		}
		return all
	}
}

// uids are the pods of an application, with how often their containers were restarted.
func (s *scenario) uids(name string) map[types.UID]int32 {
	s.Helper()
	pods, err := s.Pods(s.namespace, "app="+name).Now(s.ctx())
	s.must(err)
	all := map[types.UID]int32{}
	for _, pod := range pods {
		all[pod.UID] = 0
		for _, status := range pod.Status.ContainerStatuses {
			all[pod.UID] += status.RestartCount
		}
	}
	return all
}

// TestMigrate moves live Rollouts of Argo's.
func TestMigrate(t *testing.T) {
	together(t).serveArgo()
	t.Run("adopted", func(t *testing.T) { newScenario(t, local).migrateLive() })
	t.Run("workloadRef", func(t *testing.T) { newScenario(t, local).migrateWithWorkloadRef() })
}

// migrateLive: a Rollout of Argo's becomes one of Sluice over the very pods that run, and works from then on as if it
// had been one from the beginning.
func (s *scenario) migrateLive() {
	s.Helper()
	const name = "moved"
	s.argoHealthy(name, 3)
	observer, err := s.Observe(s.Context(), s.namespace, "app="+name, cluster.Bounds{MaxPods: 4, MinAvailable: 3})
	s.must(err)
	before, selectors := s.uids(name), s.selectors(name)

	s.contains(s.kubectl("sluice", "migrate", "--live", name, "--dry-run=server"), "would adopt replicaset.apps/moved-6d8f5 with 3 pods")
	s.contains(s.kubectl("sluice", "migrate", "--live", name), "rollout.argoproj.io/moved deleted", "service/moved handed over", "rollout.sluice.dev/moved is Healthy with the 3 pods that ran before")
	if after := s.uids(name); !maps.Equal(after, before) {
		s.Errorf("the pods are %v, they were %v", after, before)
	}
	if tally, err := observer.Tally(); err != nil || len(tally.Gone) > 0 {
		s.Errorf("pods that are gone or were restarted: %v; %v", tally.Gone, err)
	}
	_, err = s.Dynamic.Resource(argoResource).Namespace(s.namespace).Get(s.ctx(), name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		s.Errorf("Argo's Rollout is still there: %v", err)
	}
	r := s.get(name)
	if r.Status.Phase != v1alpha1.RolloutPhaseHealthy || r.Status.Revision != 4 || r.Status.StableRS != "6d8f5" {
		s.Errorf("it is %s at revision %d, stable is %q", r.Status.Phase, r.Status.Revision, r.Status.StableRS)
	}
	sets := s.sets(r)
	for _, set := range sets {
		if owner := metav1.GetControllerOf(set); owner == nil || owner.UID != r.UID {
			s.Errorf("%s is not adopted: %v", set.Name, set.OwnerReferences)
		}
	}
	if len(sets) != 2 {
		s.Errorf("there are %d ReplicaSets", len(sets))
	}
	service, err := s.Host.CoreV1().Services(s.namespace).Get(s.ctx(), name, metav1.GetOptions{})
	s.must(err)
	if want := map[string]string{"app": name, rollouts.PodTemplateHashLabel: "6d8f5"}; !maps.Equal(service.Spec.Selector, want) {
		s.Errorf("the Service selects %v", service.Spec.Selector)
	}
	// No pod has lost a label, so whatever selects them now would have selected them then.
	for _, selector := range selectors() {
		found, err := s.Pods(s.namespace, metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: selector})).Now(s.ctx())
		s.must(err)
		if len(found) != 3 {
			s.Errorf("for a moment the Service led to %d pods: %v", len(found), selector)
		}
	}

	// The same manifest again is no new revision.
	s.setTag(name, "one")
	if again := s.awaitPhase(name, v1alpha1.RolloutPhaseHealthy); again.Status.Revision != 4 {
		s.Errorf("the same template made revision %d", again.Status.Revision)
	}
	// An update, an undo of it, and an undo to a revision that Argo Rollouts made.
	for _, step := range []struct {
		act func()
		tag string
	}{
		{func() { s.setTag(name, "two") }, "two"},
		{func() { s.kubectl("sluice", "undo", name) }, "one"},
		{func() { s.kubectl("sluice", "undo", name, "--to-revision=3") }, "zero"},
	} {
		step.act()
		s.atPause(name, 1)
		s.kubectl("sluice", "promote", name)
		s.awaitPhase(name, v1alpha1.RolloutPhaseHealthy)
		s.pods(r, map[string]int{step.tag: 3})
	}
	var names []string
	for _, set := range s.sets(r) {
		names = append(names, set.Name)
	}
	if len(names) != 3 || !slices.Contains(names, "moved-5c7b9") || !slices.Contains(names, "moved-6d8f5") {
		s.Errorf("the ReplicaSets are %v", names)
	}
	_, err = observer.Stop()
	s.must(err)
}

// A manifest of Argo's is one of Sluice's that works, and what is not carried is named.
func TestMigrateManifests(t *testing.T) {
	s := together(t)
	plain := manifest(newRollout("moved", 2, weight(50), pause()))
	plain["apiVersion"] = argoResource.GroupVersion().String()
	plain["spec"].(map[string]any)["analysis"] = map[string]any{"successfulRunHistoryLimit": 1}
	output := s.run(encode(plain), "sluice", "migrate", "-f", "-")
	s.must(output.Err())
	s.contains(output.Stderr, "spec.analysis")
	s.must(s.run(output.Stdout, "apply", "-f", "-").Err())
	r := s.awaitPhase("moved", v1alpha1.RolloutPhaseHealthy)
	s.pods(r, map[string]int{"one": 2})
}

// migrateWithWorkloadRef: a Rollout of Argo's with a workloadRef cannot be taken over live, since its Deployment would
// adopt the ReplicaSets. New pods start beside the old ones, and at no moment there are fewer than asked for.
func (s *scenario) migrateWithWorkloadRef() {
	s.Helper()
	const name, replicas = "moved", 3
	r, d := referring(newRollout(name, replicas, weight(50), pause()), v1alpha1.WorkloadScaleDownNever)
	d.Spec.Replicas = ptr.To[int32](0)
	s.createDeployment(d)
	plain := manifest(r)
	plain["apiVersion"] = argoResource.GroupVersion().String()
	plain["status"] = map[string]any{"phase": "Healthy", "observedGeneration": "1", "currentPodHash": "6d8f5", "stableRS": "6d8f5", "workloadObservedGeneration": "1"}
	s.argoSet(s.createArgo(plain), "6d8f5", "one", "4", replicas)
	s.awaitSets(name, 2)
	observer, err := s.Observe(s.Context(), s.namespace, "app="+name, cluster.Bounds{MaxPods: 2 * replicas, MinAvailable: replicas})
	s.must(err)
	before := s.uids(name)

	output := s.run("", "sluice", "migrate", "--live", name)
	if output.Code == 0 || !strings.Contains(output.Stderr, "workloadRef") {
		s.Errorf("live: %+v", output)
	}
	if after := s.uids(name); !maps.Equal(after, before) {
		s.Errorf("the pods are %v, they were %v", after, before)
	}

	output = s.run(encode(plain), "sluice", "migrate", "-f", "-")
	s.must(output.Err())
	s.must(s.run(output.Stdout, "apply", "-f", "-").Err())
	s.kubectl("wait", resource+"/"+name, "--for=jsonpath={.status.phase}=Healthy", "--timeout=60s")
	s.kubectl("delete", "rollouts.argoproj.io", name)
	s.eventually("the pods of Argo's to be gone", func(ctx context.Context) bool {
		pods, err := s.Pods(s.namespace, "app="+name+","+rollouts.ArgoPodTemplateHashLabel).Now(ctx)
		return err == nil && len(pods) == 0
	})
	s.pods(s.get(name), map[string]int{"one": replicas})
	tally, err := observer.Stop()
	if s.must(err); tally.FewestAvailable < replicas {
		s.Errorf("only %d pods were available", tally.FewestAvailable)
	}
	s.awaitDeployment(d.Name, 0)
}
