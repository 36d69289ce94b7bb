// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

var podResource = schema.GroupResource{Resource: "pods"}

// labellingWorld has a Rollout that puts metadata on pods and names a Service, with a ReplicaSet and pods.
func labellingWorld(t *testing.T, pods int) *world {
	w := newWorld(t)
	r := testRollout("demo")
	r.Spec.Strategy.Canary = &v1alpha1.CanaryStrategy{CanaryService: "web", CanaryMetadata: &v1alpha1.PodTemplateMetadata{Labels: map[string]string{"role": "canary"}}}
	r, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Create(t.Context(), r, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rs := w.addReplicaSet(testReplicaSet(r, "abc", int32(pods)))
	controls := true
	for i := range pods {
		labels := map[string]string{"old": "label"}
		for key, value := range rs.Labels {
			labels[key] = value
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("demo-abc-%d", i), Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: rs.Name, UID: rs.UID, Controller: &controls}}}}
		if _, err := w.host.CoreV1().Pods(testNamespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.addService(testService("web"))
	w.forgetActions()
	return w
}

// labelAll is an engine that puts a label on every pod that lacks it, and takes another off.
func labelAll(s engine.Snapshot) (d engine.Decision) {
	for _, pod := range s.Pods {
		if pod.Labels["role"] == "canary" && pod.Labels["old"] == "" {
			continue
		}
		d.Pods = append(d.Pods, engine.PodChange{PodRef: engine.PodRef{Name: pod.Name, UID: pod.UID}, MetadataChange: engine.MetadataChange{
			SetLabels: map[string]string{"role": "canary"}, RemoveLabels: []string{"old"}, SetAnnotations: map[string]string{"why": "update"},
		}})
	}
	return d
}

// labelled counts the pods in the host that are as labelAll wants them.
func (w *world) labelled() (n int) {
	w.t.Helper()
	pods, err := w.host.CoreV1().Pods(testNamespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if _, old := pod.Labels["old"]; !old && pod.Labels["role"] == "canary" && pod.Annotations["why"] == "update" && pod.Labels["app"] == "web" {
			n++
		}
	}
	return n
}

func TestPodsAreChangedInPlaceOnceEach(t *testing.T) {
	const pods = 40
	w := labellingWorld(t, pods)
	var looks atomic.Int32
	var letGo func()
	c := w.start(func(s engine.Snapshot) engine.Decision {
		if looks.Add(1) == 1 {
			letGo = w.hold("pods")
		}
		return labelAll(s)
	})
	eventually(t, "all pods are changed", func() bool { return w.labelled() == pods })
	for range 3 {
		before := looks.Load()
		c.enqueue(testKey("demo"))
		eventually(t, "it is looked at while the cache lags", func() bool { return looks.Load() > before })
	}
	letGo()
	eventually(t, "the cache shows them", func() bool {
		snapshot, _ := c.LookUp(testKey("demo"))
		return len(labelAll(snapshot).Pods) == 0
	})
	if got := w.count("patch pods"); got != pods {
		t.Errorf("%d writes for %d pods", got, pods)
	}
	if uid := patchOf(t, w, "pods").Metadata.UID; uid == "" {
		t.Error("a write of a pod must carry its uid, or it may hit another of that name")
	}
	if got := w.count("delete") + w.count("create"); got != 0 {
		t.Errorf("pods were not changed in place: %v", w.writes())
	}
}

func TestAPodThatIsGoneIsFine(t *testing.T) {
	for rule, answer := range map[string]error{
		"it is gone":                       apierrors.NewNotFound(podResource, "demo-abc-0"),
		"it has just been changed":         apierrors.NewConflict(podResource, "demo-abc-0", errors.New("changed")),
		"another has its name, as Invalid": apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "demo-abc-0", nil),
	} {
		t.Run(rule, func(t *testing.T) {
			w := labellingWorld(t, 2)
			w.host.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return action.(clienttesting.PatchAction).GetName() == "demo-abc-0", nil, answer
			})
			w.host.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo-abc-0", UID: "another"}}, nil
			})
			lead := switchTo(holding("abc"))
			w.start(func(s engine.Snapshot) engine.Decision {
				return engine.Decision{Pods: labelAll(s).Pods, Services: lead(s).Services}
			})
			eventually(t, "the other pod is changed, and the Service led", func() bool { return w.labelled() == 1 && w.leadsTo("web") == "abc" })
			if message := w.rollout("demo").Status.Message; message != "" {
				t.Errorf("a pod that is gone is no news: %s", message)
			}
		})
	}
}

func TestARefusedPodKeepsNoServiceWaiting(t *testing.T) {
	w := labellingWorld(t, 3)
	w.host.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.(clienttesting.PatchAction).GetName() == "demo-abc-0", nil, apierrors.NewForbidden(podResource, "demo-abc-0", errors.New("labels are ours"))
	})
	lead := switchTo(holding("abc"))
	w.start(func(s engine.Snapshot) engine.Decision {
		return engine.Decision{Pods: labelAll(s).Pods, Services: lead(s).Services}
	})
	eventually(t, "the Service is led", func() bool { return w.leadsTo("web") == "abc" })
	eventually(t, "the other pods are changed", func() bool { return w.labelled() == 2 })
	eventually(t, "the Rollout shows why one is not", func() bool {
		message := w.rollout("demo").Status.Message
		return strings.Contains(message, `pod "demo-abc-0"`) && strings.Contains(message, "labels are ours")
	})
}

func TestAChangeOfAPodIsLookedAtWhereSomethingIsPutOnPods(t *testing.T) {
	w := labellingWorld(t, 1)
	w.start(labelAll)
	eventually(t, "the pod is changed", func() bool { return w.labelled() == 1 })
	patch := []byte(`{"metadata":{"labels":{"role":"none"}}}`)
	if _, err := w.host.CoreV1().Pods(testNamespace).Patch(t.Context(), "demo-abc-0", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is changed back", func() bool { return w.labelled() == 1 })
}

func TestScaleChangesTheTemplateInTheSameWrite(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	rs := testReplicaSet(r, "abc", 0)
	rs.Spec.Template.Labels["old"] = "label"
	w.addReplicaSet(rs)
	w.start(func(s engine.Snapshot) (d engine.Decision) {
		d = grow(3)(s)
		for i := range d.Scale {
			d.Scale[i].Template = &engine.MetadataChange{SetLabels: map[string]string{"role": "canary"}, RemoveLabels: []string{"old"}, RemoveAnnotations: []string{"none"}}
		}
		return d
	})
	eventually(t, "it is scaled", func() bool { return w.liveSize("demo-abc") == 3 })
	after, err := w.host.AppsV1().ReplicaSets(testNamespace).Get(t.Context(), "demo-abc", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := after.Spec.Template.Labels; got["role"] != "canary" || got["app"] != "web" || len(got) != 3 {
		t.Errorf("the labels of the template are %v", got)
	}
	if got := w.count("patch replicasets"); got != 1 {
		t.Errorf("%d writes, want one", got)
	}
}

func TestAMetadataPatchNamesOnlyWhatChanges(t *testing.T) {
	for want, change := range map[string]engine.MetadataChange{
		`{}`:                            {},
		`{"labels":{"a":"1"}}`:          {SetLabels: map[string]string{"a": "1"}},
		`{"labels":{"a":"1","b":null}}`: {SetLabels: map[string]string{"a": "1"}, RemoveLabels: []string{"b"}},
		`{"annotations":{"a":null}}`:    {RemoveAnnotations: []string{"a"}},
		`{"annotations":{"a":"1"}}`:     {SetAnnotations: map[string]string{"a": "1"}, RemoveAnnotations: []string{"a"}},
		`{"labels":{"a":""}}`:           {SetLabels: map[string]string{"a": ""}},
		`{"annotations":{"x":"1"},"labels":{"y":null}}`: {SetAnnotations: map[string]string{"x": "1"}, RemoveLabels: []string{"y"}},
	} {
		if got, err := json.Marshal(metadataPatch(&change)); err != nil || string(got) != want {
			t.Errorf("%+v is %s (%v), want %s", change, got, err, want)
		}
	}
}

func TestEqualLabelsShareTheirStrings(t *testing.T) {
	if got := interned(nil); got != nil {
		t.Errorf("no labels are %v", got)
	}
	value := strings.Repeat("v", 64)
	a, b := interned(map[string]string{"k": value}), interned(map[string]string{"k": strings.Clone(value)})
	if a["k"] != value {
		t.Errorf("got %v", a)
	}
	if unsafe.StringData(a["k"]) != unsafe.StringData(b["k"]) {
		t.Error("two equal values are kept twice")
	}
}
