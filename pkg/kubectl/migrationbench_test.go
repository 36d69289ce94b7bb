// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/kubectl/argo"
)

// argoDemo is a Rollout of Argo's, at rest at its revision 7.
const argoDemo = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: demo, namespace: shop, uid: uid-argo, generation: 3, resourceVersion: "9", annotations: {rollout.argoproj.io/revision: "7"}}
spec:
  replicas: 2
  restartAt: "2026-01-01T00:00:00Z"
  selector: {matchLabels: {app: demo}}
  strategy: {canary: {stableService: demo-stable, steps: [{setWeight: 20}, {pause: {duration: 10m}}]}}
  template:
    metadata: {labels: {app: demo}}
    spec: {containers: [{name: app, image: "app:7"}]}
status: {phase: Healthy, observedGeneration: "3", currentPodHash: abc, stableRS: abc, restartedAt: "2026-01-01T00:00:00Z"}
`

func argoRollout(t *testing.T, change func(map[string]any)) *unstructured.Unstructured {
	t.Helper()
	r := &unstructured.Unstructured{}
	encoded, err := yaml.YAMLToJSON([]byte(argoDemo))
	if err == nil {
		err = r.UnmarshalJSON(encoded)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(r.Object)
	return r
}

// setOf is a ReplicaSet of Argo's.
func setOf(hash, image, revision string, pods int32) *appsv1.ReplicaSet {
	both := map[string]string{"app": "demo", rollouts.ArgoPodTemplateHashLabel: hash}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "demo-" + hash, Namespace: "shop", UID: types.UID("uid-" + hash), Labels: maps.Clone(both), Annotations: map[string]string{argoRevision: revision},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "demo", UID: "uid-argo", Controller: ptr.To(true)}},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &pods, Selector: &metav1.LabelSelector{MatchLabels: maps.Clone(both)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(both)},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
		Status: appsv1.ReplicaSetStatus{Replicas: pods, AvailableReplicas: pods},
	}
}

func podOf(rs *appsv1.ReplicaSet, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Labels: maps.Clone(rs.Spec.Template.Labels),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: rs.Name, UID: rs.UID, Controller: ptr.To(true)}},
	}}
}

// migrationBench is a cluster with Argo's Rollout and all that goes with it, in which writes can be made to fail.
type migrationBench struct {
	*bench
	theirs *dynamicfake.FakeDynamicClient
	// left is how many writes still succeed; negative is all.
	left int
	// done are the writes, as "patch pods demo-p1".
	done []string
}

func newMigrationBench(t *testing.T, change func(map[string]any), objects ...runtime.Object) *migrationBench {
	t.Helper()
	running := setOf("abc", "app:7", "7", 2)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "demo-stable", Namespace: "shop", UID: "uid-service", Annotations: map[string]string{argoManagedBy: "demo"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "demo", rollouts.ArgoPodTemplateHashLabel: "abc"}},
	}
	if len(objects) == 0 {
		objects = []runtime.Object{running, setOf("old", "app:6", "6", 0)}
	}
	m := &migrationBench{left: -1, bench: newBench(append(objects, podOf(running, "demo-p1"), podOf(running, "demo-p2"), service)...)}
	m.theirs = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{argo.Resource: "RolloutList"}, argoRollout(t, change))
	m.connect = func() (*cluster, error) {
		return &cluster{namespace: "shop", sluice: m.sluice, kube: m.kube, dynamic: m.theirs}, nil
	}
	// The server of Sluice: it finds out which revision a Rollout is, and its controller is quick.
	m.sluice.PrependReactor("create", "rollouts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateActionImpl)
		r := create.Object.(*v1alpha1.Rollout).DeepCopy()
		hub, err := argo.Hub(r)
		if err != nil {
			return true, nil, err
		}
		r.Status.CurrentPodHash = engine.Resolve(hub, &hub.Spec.Template, m.adoptable(t)).Hash
		if len(create.CreateOptions.DryRun) > 0 {
			return true, r, nil
		}
		r.Status.Phase, r.Status.StableRS = v1alpha1.RolloutPhaseHealthy, r.Status.CurrentPodHash
		return true, r, m.sluice.Tracker().Create(rolloutsResource, r, "shop")
	})
	for _, client := range []*clienttesting.Fake{&m.kube.Fake, &m.sluice.Fake, &m.theirs.Fake} {
		client.PrependReactor("*", "*", m.count)
	}
	return m
}

// count counts writes, and fails those that are too many.
func (m *migrationBench) count(action clienttesting.Action) (bool, runtime.Object, error) {
	name := ""
	switch a := action.(type) {
	case clienttesting.PatchActionImpl:
		name = a.Name
	case clienttesting.DeleteActionImpl:
		name = a.Name
	case clienttesting.CreateActionImpl:
		if len(a.CreateOptions.DryRun) > 0 {
			return false, nil, nil
		}
		name = "demo"
	default:
		return false, nil, nil
	}
	if m.left == 0 {
		return true, nil, errors.New("the line is cut")
	}
	m.left--
	m.done = append(m.done, action.GetVerb()+" "+action.GetResource().Resource+" "+name)
	return false, nil, nil
}

// adoptable are the ReplicaSets that nobody controls and that have the label of Sluice.
func (m *migrationBench) adoptable(t *testing.T) []*appsv1.ReplicaSet {
	t.Helper()
	all, err := m.kube.AppsV1().ReplicaSets("shop").List(t.Context(), metav1.ListOptions{LabelSelector: rollouts.PodTemplateHashLabel})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(pointers(all.Items), func(rs *appsv1.ReplicaSet) bool { return metav1.GetControllerOf(rs) != nil })
}

// safe is what must hold whatever was done: both pods are there, and clients find them.
func (m *migrationBench) safe(t *testing.T) {
	t.Helper()
	service, err := m.kube.CoreV1().Services("shop").Get(t.Context(), "demo-stable", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := m.kube.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil || len(pods.Items) != 2 {
		t.Errorf("the Service leads to %d pods by %v; %v", len(pods.Items), service.Spec.Selector, err)
	}
	for _, write := range m.done {
		if strings.HasPrefix(write, "delete") && write != "delete rollouts demo" {
			t.Errorf("%s: nothing of it may be deleted but Argo's Rollout", write)
		}
	}
}

// complete checks that all is as it is to be in the end.
func (m *migrationBench) complete(t *testing.T) {
	t.Helper()
	m.safe(t)
	r, err := m.sluice.SluiceV1alpha1().Rollouts("shop").Get(t.Context(), "demo", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Spec.RestartAt != nil || r.UID != "" || len(r.Annotations) > 0 || *r.Spec.Replicas != 2 || len(r.Spec.Strategy.Canary.Steps) != 2 || r.Status.CurrentPodHash != "abc" {
		t.Errorf("created %+v", r)
	}
	sets := m.adoptable(t)
	if len(sets) != 2 {
		t.Fatalf("%d ReplicaSets can be adopted", len(sets))
	}
	for _, rs := range sets {
		hash := rs.Labels[rollouts.ArgoPodTemplateHashLabel]
		if rs.Labels[rollouts.PodTemplateHashLabel] != hash || rs.Spec.Template.Labels[rollouts.PodTemplateHashLabel] != hash ||
			rs.Annotations[rollouts.RevisionAnnotation] != rs.Annotations[argoRevision] || rs.Annotations[rollouts.MigrationAnnotation] != "" || len(rs.OwnerReferences) > 0 {
			t.Errorf("%s: labels %v, of the template %v, annotations %v, owners %v", rs.Name, rs.Labels, rs.Spec.Template.Labels, rs.Annotations, rs.OwnerReferences)
		}
	}
	service, err := m.kube.CoreV1().Services("shop").Get(t.Context(), "demo-stable", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"app": "demo", rollouts.PodTemplateHashLabel: "abc"}; !maps.Equal(service.Spec.Selector, want) {
		t.Errorf("the selector of the Service is %v", service.Spec.Selector)
	}
	if want := map[string]string{rollouts.ManagedByRolloutAnnotation: "demo"}; !maps.Equal(service.Annotations, want) {
		t.Errorf("the annotations of the Service are %v", service.Annotations)
	}
}
