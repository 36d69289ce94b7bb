// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// addServing stores a Rollout that names a canaryService.
func (w *world) addServing(name, service string) *v1alpha1.Rollout {
	w.t.Helper()
	r := testRollout(name)
	r.Spec.Strategy.Canary = &v1alpha1.CanaryStrategy{CanaryService: service}
	r, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Create(w.t.Context(), r, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func testService(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name, Labels: map[string]string{"big": "label"}, Annotations: map[string]string{"big": "annotation"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func (w *world) addService(s *corev1.Service) *corev1.Service {
	w.t.Helper()
	s, err := w.host.CoreV1().Services(testNamespace).Create(w.t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) service(name string) *corev1.Service {
	w.t.Helper()
	s, err := w.host.CoreV1().Services(testNamespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// leadsTo is the hash that the selector of a Service in the host has.
func (w *world) leadsTo(name string) string {
	w.t.Helper()
	return w.service(name).Spec.Selector[rollouts.PodTemplateHashLabel]
}

// switchTo is an engine that leads every Service to what the hash is at the time.
func switchTo(hash *atomic.Value) func(engine.Snapshot) engine.Decision {
	return func(s engine.Snapshot) (d engine.Decision) {
		wanted := hash.Load().(string)
		for _, service := range s.Services {
			if service.Spec.Selector[rollouts.PodTemplateHashLabel] == wanted && service.Annotations[rollouts.ManagedByRolloutAnnotation] == s.Rollout.Name {
				continue
			}
			d.Services = append(d.Services, engine.ServiceChange{Name: service.Name, UID: service.UID,
				ResourceVersion: service.ResourceVersion, Hash: wanted, ManagedBy: s.Rollout.Name})
		}
		return d
	}
}

func holding(hash string) *atomic.Value {
	var v atomic.Value
	v.Store(hash)
	return &v
}

func TestServiceIsLedInOneWriteThenNone(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	before := w.addService(testService("web"))
	w.addService(testService("unnamed"))
	w.forgetActions()
	var looks atomic.Int32
	scripted := switchTo(holding("abc"))
	c := w.start(func(s engine.Snapshot) engine.Decision {
		defer looks.Add(1)
		return scripted(s)
	})
	eventually(t, "the Service is led", func() bool { return w.leadsTo("web") == "abc" })
	after := w.service("web")
	if after.Annotations[rollouts.ManagedByRolloutAnnotation] != "demo" || after.Annotations["big"] == "" || after.Spec.Selector["app"] != "web" {
		t.Errorf("only our own keys may change: %v, %v", after.Annotations, after.Spec.Selector)
	}
	patch := patchOf(t, w, "services")
	if patch.Metadata.UID != before.UID || patch.Metadata.ResourceVersion != before.ResourceVersion {
		t.Errorf("a host write must carry uid and resourceVersion: %+v", patch)
	}
	eventually(t, "the cache shows it", func() bool { return c.service(testNamespace, "web").ResourceVersion == after.ResourceVersion })
	now := looks.Load()
	c.enqueue(testKey("demo"))
	eventually(t, "it is looked at again", func() bool { return looks.Load() > now })
	if got := w.count("patch"); got != 1 {
		t.Errorf("wrote %v, want one write", w.writes())
	}
	if got := w.leadsTo("unnamed"); got != "" {
		t.Errorf("a Service that no Rollout names was led to %q", got)
	}
}

// patchBody is what the tests read of a patch.
type patchBody struct {
	Metadata metav1.ObjectMeta
	Spec     struct{ Selector map[string]any }
	raw      string
}

// patchOf is the last patch of a resource.
func patchOf(t *testing.T, w *world, resource string) patchBody {
	t.Helper()
	var body patchBody
	for _, action := range w.host.Actions() {
		if patch, ok := action.(clienttesting.PatchActionImpl); ok && patch.GetResource().Resource == resource {
			body = patchBody{raw: string(patch.Patch)}
			if err := json.Unmarshal(patch.Patch, &body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if body.raw == "" {
		t.Fatalf("no patch of %s", resource)
	}
	return body
}

func TestAReleasedServiceLosesOnlyWhatWeAdded(t *testing.T) {
	w := newWorld(t)
	w.addRollout("demo")
	managed := testService("web")
	managed.Annotations[rollouts.ManagedByRolloutAnnotation] = "demo"
	managed.Spec.Selector[rollouts.PodTemplateHashLabel] = "abc"
	w.addService(managed)
	w.start(func(s engine.Snapshot) (d engine.Decision) {
		for _, service := range s.Services {
			d.Services = append(d.Services, engine.ServiceChange{Name: service.Name, UID: service.UID, ResourceVersion: service.ResourceVersion})
		}
		return d
	})
	eventually(t, "the Service leads to all pods", func() bool { return w.leadsTo("web") == "" })
	after := w.service("web")
	_, managedStill := after.Annotations[rollouts.ManagedByRolloutAnnotation]
	_, hashed := after.Spec.Selector[rollouts.PodTemplateHashLabel]
	if managedStill || hashed || after.Annotations["big"] == "" || after.Spec.Selector["app"] != "web" {
		t.Errorf("after the release: %v, %v", after.Annotations, after.Spec.Selector)
	}
}

func TestAConflictOverAServiceIsMetByLookingAgain(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	w.addService(testService("web"))
	var refused atomic.Int32
	w.host.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		if refused.Add(1) <= 3 {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "services"}, "web", errors.New("changed"))
		}
		return false, nil, nil
	})
	w.start(switchTo(holding("abc")))
	eventually(t, "it is led in the end", func() bool { return w.leadsTo("web") == "abc" })
	if events := w.events(t); len(events) > 0 {
		t.Errorf("a conflict is no news: %v", events)
	}
}

func TestARefusedSwitchIsShown(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	w.addService(testService("web"))
	w.host.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "web", errors.New("not today"))
	})
	w.start(switchTo(holding("abc")))
	eventually(t, "the Rollout shows why", func() bool {
		message := w.rollout("demo").Status.Message
		return strings.Contains(message, `the selector of Service "web" cannot be changed`) && strings.Contains(message, "not today")
	})
}

func TestDecidesNotByASelectorOfThePast(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	w.addService(testService("web"))
	hash := holding("abc")
	var looks atomic.Int32
	scripted := switchTo(hash)
	c := w.start(func(s engine.Snapshot) engine.Decision {
		defer looks.Add(1)
		return scripted(s)
	})
	eventually(t, "the cache shows the first write", func() bool {
		return c.service(testNamespace, "web").Spec.Selector[rollouts.PodTemplateHashLabel] == "abc"
	})

	letGo := w.hold("services")
	hash.Store("def")
	c.enqueue(testKey("demo"))
	eventually(t, "it is led elsewhere", func() bool { return w.leadsTo("web") == "def" })
	before, waits := looks.Load(), lookedInVain(t)
	c.enqueue(testKey("demo"))
	eventually(t, "it is looked at", func() bool { return lookedInVain(t) > waits })
	if got := looks.Load(); got != before {
		t.Errorf("decided %d times by a cache that shows the selector of the past", got-before)
	}
	letGo()
	eventually(t, "it goes on when the cache shows it", func() bool { return looks.Load() > before })
	if got := w.count("patch services"); got != 2 {
		t.Errorf("written %d times, want 2", got)
	}
}

func TestANewLeaderReadsServicesFromTheHost(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	w.addService(testService("web"))
	w.addService(testService("other"))
	seen := make(chan []string, 100)
	var armed atomic.Bool
	scripted := switchTo(holding("abc"))
	c := w.controller(func(s engine.Snapshot) engine.Decision {
		var selected []string
		for _, service := range s.Services {
			selected = append(selected, service.Name+"="+service.Spec.Selector[rollouts.PodTemplateHashLabel])
		}
		seen <- selected
		if armed.CompareAndSwap(false, true) {
			// What the leader before has written while the cache of this one lags.
			w.hold("services")
			if err := w.stored.Update(corev1.SchemeGroupVersion.WithResource("services"), led(w.service("web"), "abc"), testNamespace); err != nil {
				t.Error(err)
			}
		}
		return scripted(s)
	})
	w.run(c)
	if first := <-seen; !slices.Equal(first, []string{"web="}) {
		t.Errorf("first decided on %v", first)
	}
	if second := <-seen; !slices.Equal(second, []string{"web=abc"}) {
		t.Errorf("decided to write on %v, which the host does not show", second)
	}
	if got := w.count("patch services"); got != 0 {
		t.Errorf("wrote %d times what the leader before had written", got)
	}
}

// led is a Service that demo has led to a hash.
func led(s *corev1.Service, hash string) *corev1.Service {
	s = s.DeepCopy()
	s.Spec.Selector[rollouts.PodTemplateHashLabel] = hash
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, rollouts.ManagedByRolloutAnnotation, "demo")
	return s
}

func TestAServiceThatIsMadeAgainIsLedAgain(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	w.addService(testService("web"))
	w.start(switchTo(holding("abc")))
	eventually(t, "it is led", func() bool { return w.leadsTo("web") == "abc" })
	letGo := w.hold("services")
	if err := w.host.CoreV1().Services(testNamespace).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := testService("web")
	again.UID = "another"
	w.addService(again)
	letGo()
	eventually(t, "the new one is led too", func() bool { return w.leadsTo("web") == "abc" })
}

func TestAMissingServiceIsLedWhenItIsMade(t *testing.T) {
	w := newWorld(t)
	w.addServing("demo", "web")
	w.start(switchTo(holding("abc")))
	w.addService(testService("web"))
	eventually(t, "it is led", func() bool { return w.leadsTo("web") == "abc" })
}

// A crash between the writes of one decision: what was written stays, and the next leader writes the rest.
func TestACrashBetweenAReplicaSetAndAService(t *testing.T) {
	w := newWorld(t)
	r := w.addServing("demo", "web")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	w.addService(testService("web"))
	var dead atomic.Bool
	dead.Store(true)
	w.host.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		return dead.Load(), nil, errors.New("connection reset by peer")
	})
	scale, lead := grow(3), switchTo(holding("abc"))
	both := func(s engine.Snapshot) engine.Decision {
		return engine.Decision{Scale: scale(s).Scale, Services: lead(s).Services}
	}
	first := w.controller(both)
	stop := w.run(first)
	eventually(t, "the first write is made and the second is tried", func() bool { return w.count("patch services") > 0 })
	stop()
	if got, to := w.liveSize("demo-abc"), w.leadsTo("web"); got != 3 || to != "" {
		t.Fatalf("after the crash: %d pods, the Service leads to %q", got, to)
	}
	dead.Store(false)
	w.start(both)
	eventually(t, "the next leader writes the rest", func() bool { return w.leadsTo("web") == "abc" })
	if got := w.count("patch replicasets"); got != 1 {
		t.Errorf("scaled %d times, want once", got)
	}
}
