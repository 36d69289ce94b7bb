// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/generated/clientset/versioned"
	"sluice.dev/sluice/test/cluster"
)

// A HorizontalPodAutoscaler finds the scale of a Rollout; without any metrics it still keeps its minimum.
func TestHorizontalPodAutoscaler(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("autoscaled", 1))
	s.autoscale(r.Name, 3)
	autoscalers := s.Host.AutoscalingV2().HorizontalPodAutoscalers(s.namespace)
	source := cluster.SourceOf[*autoscalingv2.HorizontalPodAutoscaler]("autoscaler", autoscalers, metav1.ListOptions{})
	_, err := cluster.Await(s.ctx(), source, func(found []*autoscalingv2.HorizontalPodAutoscaler) string {
		for _, c := range found[0].Status.Conditions {
			if c.Type == autoscalingv2.AbleToScale && c.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return fmt.Sprintf("AbleToScale; it is %+v", found[0].Status.Conditions)
	})
	s.must(err)
	s.await(r.Name, func(r *v1alpha1.Rollout) string { return unless(*r.Spec.Replicas == 3, "3 replicas") })
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.pods(r, map[string]int{"one": 3})
}

// In the middle of an update a HorizontalPodAutoscaler changes the pods of both versions, in the proportion of the
// step, and takes no step; so it does while the Rollout is paused by hand.
func TestHorizontalPodAutoscalerInAnUpdate(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("autoscaled", 4, weight(25), pause()))
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	s.autoscale(r.Name, 8)
	s.awaitPods(r, map[string]int{"one": 6, "two": 2})
	s.atPause(r.Name, 1)
	s.must(s.perform(r.Name, "pause"))
	s.autoscale(r.Name, 12)
	s.awaitPods(r, map[string]int{"one": 9, "two": 3})
	if r := s.get(r.Name); r.Status.Phase != v1alpha1.RolloutPhasePaused || *r.Status.CurrentStepIndex != 1 {
		t.Errorf("it is %s at step %d", r.Status.Phase, *r.Status.CurrentStepIndex)
	}
}

// autoscale has a HorizontalPodAutoscaler give a Rollout at least so many replicas.
func (s *scenario) autoscale(name string, atLeast int32) {
	s.Helper()
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "sluice.dev/v1alpha1", Kind: "Rollout", Name: name},
			MinReplicas:    &atLeast,
			MaxReplicas:    20,
		},
	}
	data, err := json.Marshal(autoscaler)
	s.must(err)
	_, err = s.Host.AutoscalingV2().HorizontalPodAutoscalers(s.namespace).Patch(s.ctx(), name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: "e2e"})
	s.must(err)
}

// quota limits a resource in the namespace of the test, and waits until the host counts it.
func (s *scenario) quota(counted corev1.ResourceName, limit string) {
	s.Helper()
	quotas := s.Host.CoreV1().ResourceQuotas(s.namespace)
	hard := corev1.ResourceList{counted: quantity.MustParse(limit)}
	_, err := quotas.Create(s.ctx(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "limit"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{})
	s.must(err)
	_, err = cluster.Await(s.ctx(), cluster.SourceOf[*corev1.ResourceQuota]("quota", quotas, metav1.ListOptions{}), func(found []*corev1.ResourceQuota) string {
		_, known := found[0].Status.Hard[counted]
		return unless(known, "a status with "+string(counted))
	})
	s.must(err)
}

// A ResourceQuota on the count of Rollouts is enforced, not only counted.
func TestQuotaOnRollouts(t *testing.T) {
	s := together(t)
	s.quota("count/rollouts.sluice.dev", "2")
	client := s.rollouts()
	var mu sync.Mutex
	stored := 0
	var creates sync.WaitGroup
	for i := range 6 {
		creates.Go(func() {
			_, err := client.Create(s.ctx(), newRollout(fmt.Sprintf("counted-%d", i), 0), metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				stored++
				return
			}
			s.refused(err, http.StatusForbidden, "exceeded quota", "count/rollouts.sluice.dev")
		})
	}
	creates.Wait()
	listed, err := client.List(s.ctx(), metav1.ListOptions{})
	s.must(err)
	if stored > 2 || len(listed.Items) != stored || stored == 0 {
		t.Errorf("%d of 6 Rollouts were accepted, %d are stored, with a quota of 2", stored, len(listed.Items))
	}
}

// A quota that would refuse the ReplicaSet may be lifted by the time it is needed: it is a warning.
func TestQuotaOnReplicaSetsIsAWarning(t *testing.T) {
	s := together(t)
	s.quota("count/replicasets.apps", "0")
	heard := &warnings{}
	config := rest.CopyConfig(s.Config)
	config.WarningHandler = heard
	client, err := versioned.NewForConfig(config)
	s.must(err)
	_, err = client.SluiceV1alpha1().Rollouts(s.namespace).Create(s.ctx(), newRollout("warned", 1), metav1.CreateOptions{})
	s.must(err)
	s.contains(heard.String(), "quota")
	s.await("warned", func(r *v1alpha1.Rollout) string {
		for _, c := range r.Status.Conditions {
			if c.Type == v1alpha1.RolloutReplicaFailure && c.Status == corev1.ConditionTrue && strings.Contains(c.Message, "quota") {
				return ""
			}
		}
		return "the condition ReplicaFailure, with the quota in its message"
	})
	s.must(s.Host.CoreV1().ResourceQuotas(s.namespace).Delete(s.ctx(), "limit", metav1.DeleteOptions{}))
	s.awaitPhase("warned", v1alpha1.RolloutPhaseHealthy)
}

// What the cluster drops of a template, because it is older than the field or has it switched off, does nothing: the
// client is told, and it is not stored as if it did.
func TestAFieldThatTheClusterDropsIsAWarning(t *testing.T) {
	s := together(t)
	heard := &warnings{}
	config := rest.CopyConfig(s.Config)
	config.WarningHandler = heard
	client, err := versioned.NewForConfig(config)
	s.must(err)
	r := newRollout("dropped", 1)
	// Unknown before 1.37, and there behind the gate VolumeBindMountOptions, which is off.
	r.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	r.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data", BindMountOptions: []string{"noexec"}}}
	stored, err := client.SluiceV1alpha1().Rollouts(s.namespace).Create(s.ctx(), r, metav1.CreateOptions{})
	s.must(err)
	s.contains(heard.String(), "spec.template.spec.containers[0].volumeMounts[0].bindMountOptions is dropped")
	if options := stored.Spec.Template.Spec.Containers[0].VolumeMounts[0].BindMountOptions; len(options) > 0 {
		t.Errorf("stored are the options %q, which no pod gets", options)
	}
	s.awaitPhase("dropped", v1alpha1.RolloutPhaseHealthy)
}

// warnings collects the warnings of a client.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeader takes one warning.
func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.texts, "\n")
}

// A policy of the host on a verb is asked, whichever way the verb is called.
func TestPolicyOnPromote(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("governed")
	s.policy(admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"sluice.dev"}, APIVersions: []string{"*"}, Resources: []string{"rollouts/promote"}},
	}, "object.full == false", "nobody promotes in full here")
	full := func() error {
		_, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{Full: true}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	s.eventually("the policy to hold", func(context.Context) bool { return full() != nil })
	s.refused(full(), http.StatusUnprocessableEntity, "nobody promotes in full here")
	output := s.run("", "patch", "rollouts.sluice.dev", r.Name, "--subresource=promote", "--type=merge", "-p", `{"full":true}`)
	if output.Code == 0 {
		t.Error("a policy on rollouts/promote is not asked about a PATCH")
	}
	s.contains(output.Stderr, "nobody promotes in full here")
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion {
		t.Error("a promote that a policy refused was stored")
	}
	_, err := s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
	s.must(err)
}

// A policy of the host that refuses the ReplicaSet is a warning as well, and its end is waited for.
func TestPolicyOnReplicaSetsIsAWarning(t *testing.T) {
	s := together(t)
	s.policy(admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"replicasets"}},
	}, "false", "no replicasets here")
	heard := &warnings{}
	config := rest.CopyConfig(s.Config)
	config.WarningHandler = heard
	client, err := versioned.NewForConfig(config)
	s.must(err)
	s.eventually("the policy to hold", func(ctx context.Context) bool {
		_, err := client.SluiceV1alpha1().Rollouts(s.namespace).Create(ctx, newRollout("probe", 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && strings.Contains(heard.String(), "no replicasets here")
	})
	_, err = client.SluiceV1alpha1().Rollouts(s.namespace).Create(s.ctx(), newRollout("stored", 0), metav1.CreateOptions{})
	s.must(err)
}

// policy makes a ValidatingAdmissionPolicy that holds in the namespace of the test.
func (s *scenario) policy(rule admissionregistrationv1.RuleWithOperations, expression, message string) {
	s.Helper()
	policies, bindings := s.Host.AdmissionregistrationV1().ValidatingAdmissionPolicies(), s.Host.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	name := s.namespace + ".example.com"
	_, err := policies.Create(s.ctx(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    ptr.To(admissionregistrationv1.Fail),
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rule}}},
			Validations:      []admissionregistrationv1.Validation{{Expression: expression, Message: message}},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	_, err = bindings.Create(s.ctx(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        name,
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			MatchResources: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
			},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		ctx := context.WithoutCancel(s.Context())
		for _, err := range []error{bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{})} {
			if err != nil && !apierrors.IsNotFound(err) {
				s.Error(err)
			}
		}
	})
}
