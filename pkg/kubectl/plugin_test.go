// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	sluicefake "sluice.dev/sluice/pkg/generated/clientset/versioned/fake"
)

// bench is a plugin on a fake cluster, with what it printed.
type bench struct {
	*plugin
	sluice      *sluicefake.Clientset
	kube        *kubefake.Clientset
	out, errOut *syncBuffer
}

// syncBuffer may be read while a command still writes to it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// testNow is the time at which commands run.
var testNow = time.Date(2026, 1, 2, 12, 0, 0, 1, time.UTC)

func newBench(objects ...runtime.Object) *bench {
	var ours, theirs []runtime.Object
	for _, object := range objects {
		switch object.(type) {
		case *v1alpha1.Rollout, *v1alpha1.RolloutTree:
			ours = append(ours, object)
		default:
			theirs = append(theirs, object)
		}
	}
	b := &bench{
		sluice: sluicefake.NewSimpleClientset(ours...), kube: kubefake.NewClientset(theirs...),
		out: &syncBuffer{}, errOut: &syncBuffer{},
	}
	b.plugin = &plugin{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: b.out, ErrOut: b.errOut},
		connect: func() (*cluster, error) {
			return &cluster{namespace: "shop", sluice: b.sluice, kube: b.kube}, nil
		},
		detachInterval: time.Millisecond,
		now:            func() time.Time { return testNow },
	}
	return b
}

// do runs one command line.
func (b *bench) do(ctx context.Context, line string) int {
	return b.run(ctx, genericclioptions.NewConfigFlags(false), strings.Fields(line))
}

// expect runs one command line and checks the exit code and all that was printed.
func (b *bench) expect(t *testing.T, line string, code int, out, errOut string) {
	t.Helper()
	if got := b.do(t.Context(), line); got != code {
		t.Errorf("%s: exit code %d, want %d", line, got, code)
	}
	if got := strings.TrimSpace(b.out.String()); got != strings.TrimSpace(out) {
		t.Errorf("%s: printed\n%s\nwant\n%s", line, got, out)
	}
	if got := strings.TrimSpace(b.errOut.String()); got != strings.TrimSpace(errOut) {
		t.Errorf("%s: printed on stderr\n%s\nwant\n%s", line, got, errOut)
	}
}

// awaitWatch waits until the command watches a resource, so that no change is missed.
func awaitWatch(t *testing.T, client *clienttesting.Fake, resource string) {
	t.Helper()
	await(t, "watch of "+resource, func() bool {
		for _, action := range client.Actions() {
			if action.Matches("watch", resource) {
				return true
			}
		}
		return false
	})
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, wait.ForeverTestTimeout, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Fatalf("no %s: %v", what, err)
	}
}

// demo is a Rollout in its first pause.
func demo(change ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "shop", UID: "uid-demo", Generation: 2, ResourceVersion: "7", CreationTimestamp: metav1.Now()},
		Spec: v1alpha1.RolloutSpec{
			Replicas: ptr.To[int32](1),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "demo"}},
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: []v1alpha1.CanaryStep{
				{SetWeight: ptr.To[int32](20)}, {Pause: &v1alpha1.RolloutPause{}}, {SetWeight: ptr.To[int32](60)},
			}}},
		},
		Status: v1alpha1.RolloutStatus{
			ObservedGeneration: 2, Phase: v1alpha1.RolloutPhasePaused, Message: "CanaryPauseStep", Replicas: 1, ReadyReplicas: 1,
			Revision: 4, CurrentPodHash: "new", StableRS: "old", CurrentStepIndex: ptr.To[int32](1),
			Canary: &v1alpha1.CanaryStatus{Weights: &v1alpha1.CanaryWeights{Canary: v1alpha1.WeightDestination{Weight: 20}}},
		},
	}
	r.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "app:1"}, {Name: "proxy", Image: "proxy:1"}}
	r.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: "prepare:1"}}
	for _, f := range change {
		f(r)
	}
	return r
}

func phase(phase v1alpha1.RolloutPhase, message string) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Status.Phase, r.Status.Message = phase, message }
}

// treeOf is what the server shows of a Rollout.
func treeOf(r *v1alpha1.Rollout) *v1alpha1.RolloutTree {
	return &v1alpha1.RolloutTree{
		ObjectMeta: metav1.ObjectMeta{Name: r.Name, Namespace: r.Namespace, UID: r.UID, CreationTimestamp: r.CreationTimestamp},
		Rollout: v1alpha1.TreeRollout{
			Strategy: "Canary", Phase: r.Status.Phase, Message: r.Status.Message, StepIndex: r.Status.CurrentStepIndex, Steps: 3, SetWeight: 20,
			Replicas: 1, CurrentReplicas: 1, ReadyReplicas: r.Status.ReadyReplicas,
		},
		Revisions: []v1alpha1.TreeRevision{{Revision: 1, ReplicaSets: []v1alpha1.TreeReplicaSet{{
			Name: r.Name + "-new", PodHash: "new", Role: v1alpha1.TreeRoleCanary, Status: "Healthy", Replicas: 1, CreationTimestamp: r.CreationTimestamp,
			Pods: []v1alpha1.TreePod{{Name: r.Name + "-new-p0", Status: "Running", ReadyContainers: 1, Containers: 1, CreationTimestamp: r.CreationTimestamp}},
		}}}},
	}
}

// replicaSetOf is a ReplicaSet that a Rollout controls.
func replicaSetOf(r *v1alpha1.Rollout, hash string) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: r.Name + "-" + hash, Namespace: r.Namespace, UID: types.UID("uid-" + r.Name + hash), ResourceVersion: "3", CreationTimestamp: metav1.Now(),
			Labels:      map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: hash},
			Annotations: map[string]string{rollouts.RevisionAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Rollout", Name: r.Name, UID: r.UID, Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](1)},
	}
}
