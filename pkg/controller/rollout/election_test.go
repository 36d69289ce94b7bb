// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/pkg/engine"
)

// shortLease makes an election that is decided within a second or two.
func shortLease(identity string) func(*Config) {
	return func(c *Config) {
		c.Identity = identity
		c.LeaderElection = LeaderElection{LeaseDuration: time.Second, RenewDeadline: 400 * time.Millisecond, RetryPeriod: 50 * time.Millisecond}
	}
}

func (w *world) holder() string {
	lease, err := w.host.CoordinationV1().Leases("sluice-system").Get(w.t.Context(), LeaseName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func nothing(engine.Snapshot) engine.Decision { return engine.Decision{} }

func TestALeaderThatLosesTheLeaseStopsAndStandsAgain(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	var unreachable atomic.Bool
	w.host.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return unreachable.Load(), nil, errors.New("the host does not answer")
	})
	var size atomic.Int32
	size.Store(1)
	c := w.start(growTo(&size), shortLease("one"))
	eventually(t, "it acts", func() bool { return w.liveSize("demo-abc") == 1 })

	unreachable.Store(true)
	eventually(t, "it leads no more", func() bool { return !c.Leading() })
	size.Store(2)
	w.touch("demo-abc")
	eventually(t, "its caches stay warm", func() bool { return c.Synced() && c.replicaSetSize("demo-abc") == 1 })
	if got := w.liveSize("demo-abc"); got != 1 {
		t.Errorf("scaled to %d without the Lease", got)
	}

	unreachable.Store(false)
	eventually(t, "it leads again", c.Leading)
	eventually(t, "it does what it has missed", func() bool { return w.liveSize("demo-abc") == 2 })
}

func TestALeaderThatEndsHandsOver(t *testing.T) {
	w := newWorld(t)
	w.addRollout("demo")
	// The term of the first one ends slowly: the Lease must not be free before.
	deciding, goOn := make(chan struct{}), make(chan struct{})
	first := w.controller(func(engine.Snapshot) engine.Decision {
		close(deciding)
		<-goOn
		return engine.Decision{}
	}, shortLease("first"))
	stop := w.run(first)
	<-deciding
	second := w.controller(nothing, shortLease("second"))
	w.run(second)
	eventually(t, "the follower is warm", second.Synced)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	eventually(t, "the first one ends its term", func() bool { return !first.Leading() })
	if got := w.holder(); got != "first" {
		t.Errorf("the Lease was given to %q while a worker of the first one was still at work", got)
	}
	close(goOn)
	<-stopped
	if got := w.holder(); got == "first" {
		t.Error("the Lease was not released")
	}
	eventually(t, "the second one leads", second.Leading)
	if got := w.holder(); got != "second" {
		t.Errorf("the Lease is held by %q", got)
	}
}

// What a terminating server answers while it hands over is read from the caches of its controller.
func TestALeaderThatResignsKeepsItsCaches(t *testing.T) {
	w := newWorld(t)
	resign := make(chan struct{})
	first := w.start(nothing, shortLease("first"), func(c *Config) { c.Resign = resign })
	eventually(t, "the first one leads", first.Leading)
	second := w.controller(nothing, shortLease("second"))
	w.run(second)
	eventually(t, "the follower is warm", second.Synced)
	close(resign)
	eventually(t, "the second one leads", second.Leading)
	if got := w.holder(); got != "second" || first.Leading() {
		t.Errorf("the Lease is held by %q", got)
	}
	r := w.addRollout("later")
	w.addReplicaSet(testReplicaSet(r, "abc", 3))
	eventually(t, "the caches of the first one are still kept", func() bool { return first.Synced() && first.replicaSetSize("later-abc") == 3 })
}

func TestOnlyTheLeaderWrites(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	w.addReplicaSet(testReplicaSet(r, "abc", 0))
	leader := w.start(nothing, shortLease("leader"))
	follower := w.controller(grow(3), shortLease("follower"))
	w.run(follower)
	eventually(t, "the follower is warm", follower.Synced)
	w.touch("demo-abc")
	eventually(t, "the follower sees the change", func() bool {
		obj, _, _ := follower.replicaSets.GetStore().GetByKey(testNamespace + "/demo-abc")
		object, ok := obj.(metav1.Object)
		return ok && object.GetAnnotations()["touched"] != ""
	})
	if got := w.liveSize("demo-abc"); got != 0 || !leader.Leading() || follower.Leading() {
		t.Errorf("scaled to %d by a follower", got)
	}
}

func TestANewLeaderReadsTheServersBeforeItsFirstWrite(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	old := w.addReplicaSet(testReplicaSet(r, "abc", 0))
	var sizes []int32
	letGo := make(chan func(), 1)
	c := w.controller(func(s engine.Snapshot) engine.Decision {
		sizes = append(sizes, *s.ReplicaSets[0].Spec.Replicas)
		return grow(3)(s)
	}, func(c *Config) { c.Workers = 1 })
	w.host.PrependReactor("create", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		// The last write of the leader before, which the caches are late to show.
		letGo <- w.hold("replicasets")
		written := old.DeepCopy()
		written.Spec.Replicas = new(int32(3))
		return false, nil, w.stored.Update(appsv1.SchemeGroupVersion.WithResource("replicasets"), written, testNamespace)
	})
	stop := w.run(c)
	eventually(t, "it is looked at", func() bool { return c.Leading() && c.leading.Load().queue.Len() == 0 })
	eventually(t, "it has read the servers", func() bool {
		for _, a := range w.host.Actions() {
			if get, ok := a.(clienttesting.ListActionImpl); ok && get.Namespace == testNamespace {
				return true
			}
		}
		return false
	})
	(<-letGo)()
	stop()
	if got := w.count("patch replicasets"); got != 0 {
		t.Errorf("wrote %d times by what it had not seen", got)
	}
	if len(sizes) < 2 || sizes[0] != 0 || sizes[1] != 3 {
		t.Errorf("decided by the sizes %v, want first the cache's 0, then the server's 3", sizes)
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		rule   string
		change func(*Config)
		// want is part of the error; empty if there must be none.
		want string
	}{
		{"the defaults hold", func(*Config) {}, ""},
		{"Rollouts are required", func(c *Config) { c.Rollouts = nil }, "Config.Rollouts"},
		{"a host is required", func(c *Config) { c.Host = nil }, "Config.Host"},
		{"a namespace is required", func(c *Config) { c.Namespace = "" }, "Config.Namespace"},
		{"workers are not negative", func(c *Config) { c.Workers = -1 }, "number of workers"},
		{"two leaders must not overlap", func(c *Config) { c.LeaderElection.RenewDeadline = 3 * time.Second }, "longer than the renew deadline"},
		{"a Lease counts in seconds", func(c *Config) { c.LeaderElection.LeaseDuration = time.Millisecond }, "at least 1s"},
		{"the leader must get to renew", func(c *Config) { c.LeaderElection.RetryPeriod = 2 * time.Second }, "retry period"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			config := Config{Rollouts: w.rollouts, Host: w.host, Namespace: "sluice-system"}
			tc.change(&config)
			_, err := New(config)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestFailsOverWithinFiveSeconds(t *testing.T) {
	// A follower notices the last renewal up to one stretched period late, and the end of the Lease up
	// to another one.
	stretch := 2.2
	if worst := DefaultLeaseDuration + time.Duration(2*stretch*float64(DefaultRetryPeriod)); worst >= 5*time.Second {
		t.Errorf("the defaults let a dead leader go unnoticed for %v", worst)
	}
}
