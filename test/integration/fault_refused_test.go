// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/reliability"
)

const (
	faultQuota  = "fault-of-a-quota"
	faultPolicy = "fault-of-a-policy"
)

// Whoever runs the host refuses what an update needs, and Rollouts say so, stay within their bounds, and go on when they
// are allowed to.
func TestTheHostRefuses(t *testing.T) {
	s := start(t, newNamespace(t), t.TempDir())
	f := newFleet(t, s, "refused")
	defer f.stopObserving(t)
	for _, c := range []struct {
		fault, name string
		begin       func(*testing.T)
		end         func(context.Context) error
	}{
		{reliability.PolicyRefuses, faultPolicy, beginPolicy, endPolicy},
		{reliability.WebhookRefuses, faultWebhook, beginWebhook, endWebhook},
		{reliability.QuotaRefuses, faultQuota, func(t *testing.T) { beginQuota(t, f.all()) }, func(ctx context.Context) error {
			return host.Host.CoreV1().ResourceQuotas(metav1.NamespaceDefault).Delete(ctx, faultQuota, metav1.DeleteOptions{})
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			row := reliability.Row{Fault: c.fault, Times: reliability.Times(), Lasting: reliability.Lasting(time.Second, 10*time.Second)}
			// A test that has failed in the midst leaves nothing that refuses what the next ones do.
			t.Cleanup(func() { _ = c.end(context.WithoutCancel(t.Context())) })
			for range row.Times {
				c.begin(t)
				f.update(t)
				for _, name := range f.moving {
					r := f.await(t, name, "refused by the host", func(r *v1alpha1.Rollout) bool { return strings.Contains(r.Status.Message, c.name) })
					t.Logf("%s is %s: %s", name, r.Status.Phase, r.Status.Message)
				}
				time.Sleep(row.Lasting)
				if err := c.end(t.Context()); err != nil {
					t.Fatal(err)
				}
				row.Add(f.settle(t))
			}
			reliability.Record(t, row)
		})
	}
}

// beginQuota allows one more ReplicaSet in the namespace than there are, which is for the Rollout that waits.
func beginQuota(t *testing.T, names []string) {
	t.Helper()
	// What earlier tests have left goes away, and would leave room.
	sets, err := cluster.Await(t.Context(), host.ReplicaSets(metav1.NamespaceDefault, ""), func(sets []*appsv1.ReplicaSet) string {
		for _, set := range sets {
			if owner := metav1.GetControllerOfNoCopy(set); owner == nil || !slices.Contains(names, owner.Name) {
				return set.Name + " is still there"
			}
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	const counted corev1.ResourceName = "count/replicasets.apps"
	allowed := *resource.NewQuantity(int64(len(sets)+1), resource.DecimalSI)
	quotas := host.Host.CoreV1().ResourceQuotas(metav1.NamespaceDefault)
	if _, err := quotas.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: faultQuota},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: allowed}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		quota, err := quotas.Get(ctx, faultQuota, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		used := quota.Status.Used[counted]
		return used.CmpInt64(int64(len(sets))) == 0, nil
	})
	if err != nil {
		t.Fatalf("the quota does not count %d ReplicaSets: %v", len(sets), err)
	}
}

// beginPolicy refuses to give any ReplicaSet more than half of its pods: what stands at the first steps stays there.
func beginPolicy(t *testing.T) {
	t.Helper()
	policies := host.Host.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	_, err := policies.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: faultPolicy},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"replicasets"}},
			}}}},
			Validations: []admissionv1.Validation{{
				Expression: "object.spec.replicas <= oldObject.spec.replicas || object.spec.replicas <= 2",
				Message:    faultPolicy,
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Host.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: faultPolicy},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: faultPolicy, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitRefusal(t, faultPolicy)
}

// awaitRefusal waits until the host refuses in this name, as it has learnt by a watch that it is to.
func awaitRefusal(t *testing.T, name string) {
	t.Helper()
	client := host.Host.AppsV1().ReplicaSets(metav1.NamespaceDefault)
	sets, err := client.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	more := []byte(`{"spec":{"replicas":1000}}`)
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := client.Patch(ctx, sets.Items[0].Name, types.MergePatchType, more, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), name), nil
	})
	if err != nil {
		t.Fatalf("the host does not refuse in the name of %s: %v", name, err)
	}
}

func endPolicy(ctx context.Context) error {
	now := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
	if err := host.Host.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(ctx, faultPolicy, now); err != nil {
		return err
	}
	return host.Host.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(ctx, faultPolicy, now)
}
