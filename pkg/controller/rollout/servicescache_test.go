// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

func TestWhichRolloutsAServiceConcerns(t *testing.T) {
	named := func(version string) *corev1.Service {
		s := testService("web")
		s.ResourceVersion = version
		return s
	}
	managed := func(version, by string) *corev1.Service {
		s := testService("unnamed")
		s.ResourceVersion, s.Annotations[rollouts.ManagedByRolloutAnnotation] = version, by
		return s
	}
	for _, tc := range []struct {
		rule  string
		event func(*Controller)
		want  []string
	}{
		{"named by a Rollout", func(c *Controller) { c.serviceSeen(named("1")) }, []string{"demo"}},
		{"named by none", func(c *Controller) { c.serviceSeen(testService("x")) }, nil},
		{"named by a Rollout of another namespace", func(c *Controller) {
			s := named("1")
			s.Namespace = "elsewhere"
			c.serviceSeen(s)
		}, nil},
		{"managed by one that does not name it", func(c *Controller) { c.serviceSeen(managed("1", "other")) }, []string{"other"}},
		{"changed", func(c *Controller) { c.serviceChanged(named("1"), named("2")) }, []string{"demo"}},
		{"seen again as it was", func(c *Controller) { c.serviceChanged(named("1"), named("1")) }, nil},
		{"handed to another: the old manager must know", func(c *Controller) {
			c.serviceChanged(managed("1", "demo"), managed("2", "other"))
		}, []string{"demo", "other"}},
		{"deleted", func(c *Controller) {
			c.serviceGone(coreinformers.DeletedService{OptionalObj: named("1")})
		}, []string{"demo"}},
		{"deleted while nobody watched, its state lost", func(c *Controller) {
			c.serviceGone(coreinformers.DeletedService{FinalStateUnknown: &cache.DeletedFinalStateUnknown{Key: "shop/web"}})
		}, []string{"demo"}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			c := listening(t)
			naming := testRollout("demo")
			naming.UID = "demo"
			naming.Spec.Strategy.BlueGreen = &v1alpha1.BlueGreenStrategy{ActiveService: "web"}
			if err := c.rollouts.GetStore().Update(naming); err != nil {
				t.Fatal(err)
			}
			tc.event(c)
			if got := c.queued(); !slices.Equal(got, tc.want) {
				t.Errorf("looks at %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTheCacheKeepsOfServicesOnlyWhereTheyLead(t *testing.T) {
	s := led(testService("web"), "abc")
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	trimmed, err := trimService(s)
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "web", Annotations: map[string]string{rollouts.ManagedByRolloutAnnotation: "demo"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web", rollouts.PodTemplateHashLabel: "abc"}},
	}
	if !apiequality.Semantic.DeepEqual(trimmed, want) {
		t.Errorf("kept %+v", trimmed)
	}
}

// Where the Rollout is gone, what it managed is given back: not before its pods are gone as well.
func TestServicesOfARolloutThatIsGone(t *testing.T) {
	w := newWorld(t)
	gone := testRollout("gone")
	gone.UID = "gone"
	orphan := testReplicaSet(gone, "abc", 1)
	orphan.OwnerReferences = nil
	w.addReplicaSet(orphan)
	for name, hash := range map[string]string{"with-pods": "abc", "without-pods": "def"} {
		s := led(testService(name), hash)
		s.Annotations[rollouts.ManagedByRolloutAnnotation] = "gone"
		w.addService(s)
	}
	w.addRollout("demo")
	w.addService(led(testService("of-another"), "ghi"))
	c := w.start(func(engine.Snapshot) engine.Decision { return engine.Decision{} })
	eventually(t, "the one that leads nowhere is given back", func() bool { return w.leadsTo("without-pods") == "" })
	if got := w.service("without-pods"); managerOf(got) != "" || got.Spec.Selector["app"] != "web" {
		t.Errorf("given back as %v, %v", got.Annotations, got.Spec.Selector)
	}
	if with, another := w.leadsTo("with-pods"), w.leadsTo("of-another"); with != "abc" || another != "ghi" {
		t.Errorf("these were to be left alone: %q, %q", with, another)
	}
	if err := w.host.AppsV1().ReplicaSets(testNamespace).Delete(t.Context(), orphan.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cache shows it", func() bool { return c.replicaSetSize(orphan.Name) == -1 })
	c.enqueue(testKey("gone"))
	eventually(t, "the other one is given back when its pods are gone", func() bool { return w.leadsTo("with-pods") == "" })
}

func TestAServiceIsNotGivenBackBecauseACacheIsLate(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addService(led(testService("web"), "abc"))
	c := w.start(func(engine.Snapshot) engine.Decision { return engine.Decision{} })
	before := looks(t, outcomeConflict)
	if err := c.rollouts.GetStore().Delete(r); err != nil {
		t.Fatal(err)
	}
	c.enqueue(testKey("demo"))
	eventually(t, "it is looked at", func() bool { return looks(t, outcomeConflict) > before })
	if got := w.leadsTo("web"); got != "abc" {
		t.Errorf("it leads to %q", got)
	}
}
