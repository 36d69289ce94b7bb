// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package hosttemplate

import (
	"context"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// twoContainers is a template with something in it that hosts may take away.
func twoContainers() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"team": "shop"}},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{},
			SchedulingGroup: &corev1.PodSchedulingGroup{PodGroupName: ptr.To("batch")},
			Containers: []corev1.Container{
				{Name: "app", Image: "example.com/app:1", Args: []string{"serve"}, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data", BindMountOptions: []string{"noexec"}}}},
				{Name: "log", Image: "example.com/log:1"},
			},
		},
	}
}

func TestDropped(t *testing.T) {
	for _, row := range []struct {
		rule   string
		change func(*corev1.PodTemplateSpec)
		want   []string
	}{
		{"what the host adds is its defaults", func(a *corev1.PodTemplateSpec) {
			a.Spec.RestartPolicy = corev1.RestartPolicyAlways
			a.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
		}, nil},
		{"another value is not a missing one", func(a *corev1.PodTemplateSpec) { a.Spec.Containers[0].Image = "mirror.example.com/app:1" }, nil},
		{"what was empty lacks nothing", func(a *corev1.PodTemplateSpec) { a.Spec.SecurityContext = nil }, nil},
		{"a field of the pod", func(a *corev1.PodTemplateSpec) { a.Spec.SchedulingGroup = nil }, []string{"spec.template.spec.schedulingGroup"}},
		{"one deep inside", func(a *corev1.PodTemplateSpec) { a.Spec.Containers[0].VolumeMounts[0].BindMountOptions = nil },
			[]string{"spec.template.spec.containers[0].volumeMounts[0].bindMountOptions"}},
		{"one of a list without names", func(a *corev1.PodTemplateSpec) { a.Spec.Containers[0].Args = []string{} }, []string{"spec.template.spec.containers[0].args"}},
		{"an annotation", func(a *corev1.PodTemplateSpec) { a.Annotations = map[string]string{"other": "x"} }, []string{"spec.template.metadata.annotations.team"}},
		{"a whole container", func(a *corev1.PodTemplateSpec) { a.Spec.Containers = a.Spec.Containers[:1] }, []string{"spec.template.spec.containers[1]"}},
		{"a container before ours moves them only", func(a *corev1.PodTemplateSpec) {
			a.Spec.Containers = append([]corev1.Container{{Name: "sidecar", Image: "example.com/sidecar:1"}}, a.Spec.Containers...)
		}, nil},
		{"two, in the order of their paths", func(a *corev1.PodTemplateSpec) { a.Spec.SchedulingGroup, a.Spec.Containers[1].Image = nil, "" },
			[]string{"spec.template.spec.containers[1].image", "spec.template.spec.schedulingGroup"}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			asked, answered := twoContainers(), twoContainers()
			row.change(&answered)
			got, err := dropped(&asked, &answered)
			if err != nil || !slices.Equal(got, row.want) {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
		})
	}
}

// warnings keeps what a client would be warned of.
type warnings []string

func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

// A host that does not know a field answers without it, and nobody but us can tell.
func TestWhatTheHostDropsIsWarnedOf(t *testing.T) {
	host := fake.NewClientset()
	host.PrependReactor("create", "replicasets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		replicaSet := action.(clienttesting.CreateAction).GetObject().(*appsv1.ReplicaSet).DeepCopy()
		replicaSet.Spec.Template.Spec.SchedulingGroup = nil
		return true, replicaSet, nil
	})
	rollout := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	rollout.Spec.Template = twoContainers()
	rollout.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	for _, row := range []struct {
		rule string
		want warnings
	}{
		{"a field that is dropped", warnings{"spec.template.spec.schedulingGroup is dropped: this cluster does not have it, or does not allow it"}},
		{"nothing is dropped", nil},
	} {
		var told warnings
		template, _, err := New(host).Resolve(warning.WithWarningRecorder(context.Background(), &told), rollout, nil)
		if err != nil {
			t.Fatal(err)
		}
		if template.Spec.SchedulingGroup != nil || !slices.Equal(told, row.want) {
			t.Errorf("%s: warned of %q; want %q", row.rule, told, row.want)
		}
		rollout.Spec.Template.Spec.SchedulingGroup = nil
	}
}
