// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package hosttemplate

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// hostThatRefuses is a host with policies against some kinds. It defaults the restart policy.
func hostThatRefuses(resources ...string) *fake.Clientset {
	host := fake.NewClientset()
	host.PrependReactor("create", "podtemplates", func(action clienttesting.Action) (bool, runtime.Object, error) {
		template := action.(clienttesting.CreateAction).GetObject().(*corev1.PodTemplate).DeepCopy()
		template.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		return true, template, nil
	})
	for _, resource := range resources {
		host.PrependReactor("create", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("exceeded quota"))
		})
	}
	return host
}

func TestWhereDefaultsComeFromWhenReplicaSetsAreRefused(t *testing.T) {
	created := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	changed := created.DeepCopy()
	changed.Status.CurrentPodHash = "abc"
	tests := []struct {
		rule      string
		refused   []string
		rollout   *rollouts.Rollout
		defaulted bool
		forbidden bool
	}{
		{"a PodTemplate is asked instead", []string{"replicasets"}, changed, true, false},
		{"a new Rollout is stored as it is if that is refused too", []string{"replicasets", "podtemplates"}, created, false, false},
		{"a changed template could be the running one, and is Forbidden", []string{"replicasets", "podtemplates"}, changed, false, true},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			template, err := New(hostThatRefuses(test.refused...)).dryRun(t.Context(), test.rollout)
			if apierrors.IsForbidden(err) != test.forbidden || (err != nil && !test.forbidden) {
				t.Fatalf("got %v", err)
			}
			if err == nil && (template.Spec.RestartPolicy == corev1.RestartPolicyAlways) != test.defaulted {
				t.Errorf("restartPolicy is %q", template.Spec.RestartPolicy)
			}
		})
	}
}
