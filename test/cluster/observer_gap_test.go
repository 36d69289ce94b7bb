// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// breakable is a host whose watches of pods are handed out one after another, to be broken.
func breakable() (c *Cluster, watches <-chan *watch.FakeWatcher) {
	host := fake.NewClientset()
	begun := make(chan *watch.FakeWatcher, 10)
	host.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		w := watch.NewFake()
		begun <- w
		return true, w, nil
	})
	return &Cluster{Host: host}, begun
}

func (c *Cluster) create(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := c.Host.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod(name, "one", true), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestObserveThrough: a watch that breaks begins anew, that is counted, and what happened meanwhile is held against the
// bounds.
func TestObserveThrough(t *testing.T) {
	c, watches := breakable()
	c.create(t, "a", "b")
	o, err := c.ObserveThrough(t.Context(), metav1.NamespaceDefault, "", Bounds{MaxPods: 3, MinAvailable: 2})
	if err != nil {
		t.Fatal(err)
	}
	first := <-watches
	c.create(t, "c")
	first.Stop()
	second := <-watches
	tally, err := o.Tally()
	if err != nil || tally.Gaps != 1 || tally.MostPods != 3 {
		t.Errorf("after a gap in which a third pod came: %+v, %v", tally, err)
	}
	second.Add(pod("d", "two", true))
	second.Stop()
	<-watches
	tally, err = o.Stop()
	if err == nil || !strings.Contains(err.Error(), "4 pods, more than the 3") || tally.Gaps != 2 {
		t.Errorf("a fourth pod, and another gap: %+v, %v", tally, err)
	}
}

// TestObserveEndsWithItsWatch: without through, a watch that breaks is a problem, since nobody has seen what happened
// then.
func TestObserveEndsWithItsWatch(t *testing.T) {
	c, watches := breakable()
	c.create(t, "a", "b")
	o, err := c.Observe(t.Context(), metav1.NamespaceDefault, "", Bounds{MaxPods: 3, MinAvailable: 2})
	if err != nil {
		t.Fatal(err)
	}
	(<-watches).Stop()
	err = wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		_, err := o.Tally()
		return err != nil, nil
	})
	if err != nil {
		t.Fatal("nobody says that the watch has ended")
	}
	if _, err := o.Stop(); !strings.Contains(err.Error(), "the watch of pods of default") {
		t.Error(err)
	}
	if len(watches) > 0 {
		t.Error("it has begun another watch")
	}
}
