// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// deployment is a manifest of one with pods that reserve nothing.
const deployment = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": %[1]q}, "spec": {
	"replicas": 2, "selector": {"matchLabels": {"app": %[1]q}}, "template": {"metadata": {"labels": {"app": %[1]q}},
	"spec": {"containers": [{"name": "main", "image": "example.com/other:one"}]}}}}`

// until waits for what cannot be watched, and returns how long that took, which must not be longer than the bound.
func (s *scenario) until(bound time.Duration, what string, lacking func(context.Context) string) time.Duration {
	s.Helper()
	began, last := time.Now(), ""
	s.eventually(what, func(ctx context.Context) bool {
		last = lacking(ctx)
		return last == "" || time.Since(began) > bound
	})
	if last != "" {
		s.Fatalf("within %v is wanted that %s: %s", bound, what, last)
	}
	return time.Since(began).Round(100 * time.Millisecond)
}

// available says what is lacking for the APIService to be Available, or not to be.
func (s *scenario) available(ctx context.Context, wanted bool) string {
	services := s.Dynamic.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	list, err := services.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=v1alpha1.sluice.dev"})
	if err != nil || len(list.Items) != 1 {
		return fmt.Sprint("the APIService cannot be read: ", err)
	}
	service := &list.Items[0]
	is, why := isAvailable([]*unstructured.Unstructured{service})
	return unless(is == wanted, fmt.Sprintf("Available %t; it is %s", wanted, why))
}

// kubectlIsUsable fails the test unless stock kubectl works with other groups, finding them anew each time.
func (s *scenario) kubectlIsUsable(when string) {
	s.Helper()
	name := "usable-" + strings.ReplaceAll(when, " ", "-")
	for _, command := range []struct {
		args  []string
		stdin string
		says  string
	}{
		{[]string{"apply", "-f", "-"}, fmt.Sprintf(deployment, name), "created"},
		{[]string{"get", "pods,deployments"}, "", "deployment.apps/" + name},
		{[]string{"scale", "deployment", name, "--replicas=1"}, "", "scaled"},
		{[]string{"describe", "deployment", name}, "", "StrategyType"},
		{[]string{"explain", "deployment.spec.replicas"}, "", "FIELD: replicas"},
		{[]string{"auth", "can-i", "create", "deployments"}, "", "yes"},
		{[]string{"delete", "deployment", name}, "", "deleted"},
	} {
		began := time.Now()
		// Nothing that an earlier command has found may help.
		output := s.run(command.stdin, append(slices.Clone(command.args), "--cache-dir="+s.TempDir())...)
		took := time.Since(began)
		s.Logf("%s: %s: exit code %d after %v %s", when, strings.Join(command.args, " "), output.Code, took.Round(10*time.Millisecond), output.Stderr)
		s.must(output.Err())
		s.contains(output.Stdout, command.says)
		if took > usable {
			s.Errorf("%s: %s took %v", when, strings.Join(command.args, " "), took)
		}
	}
}

// kubectlTells fails the test unless kubectl says of Rollouts what it says of kinds that there are not.
func (s *scenario) kubectlTells() {
	s.Helper()
	for _, command := range []struct {
		args         []string
		code         int
		says, hasNot string
	}{
		{args: []string{"get", resource}, code: 1, says: `the server doesn't have a resource type "rollouts"`},
		{args: []string{"get", "all"}, says: "pod/kept-", hasNot: "rollout"},
		{args: []string{"api-resources"}, says: "deployments", hasNot: "rollouts"},
	} {
		began := time.Now()
		output := s.run("", append(slices.Clone(command.args), "--cache-dir="+s.TempDir())...)
		said := output.Stdout + output.Stderr
		s.Logf("%s: exit code %d after %v %s", strings.Join(command.args, " "), output.Code, time.Since(began).Round(10*time.Millisecond), output.Stderr)
		if output.Code != command.code || !strings.Contains(said, command.says) || command.hasNot != "" && strings.Contains(said, command.hasNot) {
			s.Errorf("%s: wanted are exit code %d and %q, without %q; it is %d:\n%s", strings.Join(command.args, " "), command.code, command.says, command.hasNot, output.Code, said)
		}
	}
}

// createQuota limits the pods and Rollouts of the namespace. One quota for both is the worst case.
func (s *scenario) createQuota() {
	s.Helper()
	_, err := s.Host.CoreV1().ResourceQuotas(s.namespace).Create(s.ctx(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "both"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourcePods: quantity.MustParse("4"), "count/rollouts.sluice.dev": quantity.MustParse("1"),
		}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.awaitQuota("2", "1")
}

// awaitQuota waits until so many pods and Rollouts are counted, and returns how long that took.
func (s *scenario) awaitQuota(pods, rollouts string) time.Duration {
	s.Helper()
	return s.until(collected, "the quota counts", func(ctx context.Context) string {
		quota, err := s.Host.CoreV1().ResourceQuotas(s.namespace).Get(ctx, "both", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		counted, ours := quota.Status.Used[corev1.ResourcePods], quota.Status.Used["count/rollouts.sluice.dev"]
		return unless(counted.String() == pods && ours.String() == rollouts,
			fmt.Sprintf("%s pods and %s Rollouts; counted are %s and %s", pods, rollouts, counted.String(), ours.String()))
	})
}

// collectsAndCounts fails the test unless the garbage collector and the quota of the host do their work for a Deployment.
func (s *scenario) collectsAndCounts(name string) {
	s.Helper()
	s.must(s.run(fmt.Sprintf(deployment, name), "apply", "-f", "-").Err())
	took := s.awaitQuota("4", "1")
	s.Logf("%s: the quota has counted two new pods after %v", name, took)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "beyond"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image("one")}}}}
	if _, err := s.Host.CoreV1().Pods(s.namespace).Create(s.ctx(), pod, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		s.Errorf("a pod beyond the quota was not refused: %v", err)
	}
	// In the background: the ReplicaSet and the pods are for the garbage collector to find.
	s.kubectl("delete", "deployment", name, "--cascade=background")
	took = s.until(collected, "the pods are collected", func(context.Context) string {
		return unless(len(s.podsNow("app="+name)) == 0, "no pods")
	})
	s.Logf("%s: the pods of a Deployment that was deleted are collected after %v", name, took)
	took = s.awaitQuota("2", "1")
	s.Logf("%s: the quota has noticed after %v", name, took)
}

// podsNow are those of the pods that a selector finds, in order of their names.
func (s *scenario) podsNow(selector string) (uids []types.UID) {
	s.Helper()
	pods, err := s.Pods(s.namespace, selector).Now(s.ctx())
	s.must(err)
	for _, pod := range pods {
		uids = append(uids, pod.UID)
	}
	return uids
}

// deleteNamespace deletes the namespace of the test.
func (s *scenario) deleteNamespace() {
	s.Helper()
	s.must(s.Host.CoreV1().Namespaces().Delete(s.ctx(), s.namespace, metav1.DeleteOptions{}))
}

// waits says what is lacking for the namespace to wait, and to say why in a condition.
func (s *scenario) waits(ctx context.Context, condition corev1.NamespaceConditionType) string {
	namespace, err := s.Host.CoreV1().Namespaces().Get(ctx, s.namespace, metav1.GetOptions{})
	s.must(err)
	for _, c := range namespace.Status.Conditions {
		if c.Type == condition && c.Status == corev1.ConditionTrue {
			return unless(strings.Contains(c.Message, "sluice.dev"), "a message that names sluice.dev, not "+c.Message)
		}
	}
	return fmt.Sprintf("wanted is %s; its conditions are %+v", condition, namespace.Status.Conditions)
}

// gone says what the namespace still is, until it is gone.
func (s *scenario) gone(ctx context.Context) string {
	namespace, err := s.Host.CoreV1().Namespaces().Get(ctx, s.namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	s.must(err)
	return fmt.Sprintf("it is %s: %+v", namespace.Status.Phase, namespace.Status.Conditions)
}
