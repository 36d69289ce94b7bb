// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// TestDisruption ends components, or keeps the server as busy as it can be, so it comes after all other tests, one part
// after the other.
func TestDisruption(t *testing.T) {
	t.Parallel()
	calm.Wait()
	for _, part := range []struct {
		name string
		run  func(*scenario)
	}{
		// First of all: what the quota controller of the host counts is what its watch of Rollouts shows, which others break.
		{"server away", serverAway},
		{"thousand watches", thousandWatches},
		{"slow watchers", slowWatchers},
		{"request limits", requestLimits},
		{"server killed in mid-update", serverKilledInMidUpdate},
		{"server ends in good order", serverEndsInGoodOrder},
		{"certificate spoilt", certificateSpoilt},
		{"explain without a controller", explainWithoutController},
		{"second process on a data directory", secondProcessOnDataDirectory},
		{"forged owner reference", forgedOwnerReference},
		{"detach", detach},
		{"older copy of the store", olderCopyOfStore},
		{"store wiped", storeWiped},
		{"backup and restore", drill},
		{"leader killed", leaderKilled},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(newScenario(t, local)) })
	}
}

// kill -9 at any moment loses no acknowledged write, and an update goes on where it was.
func serverKilledInMidUpdate(s *scenario) {
	r := s.deploy(newRollout("survivor", 5, weight(20), pauseFor(2), weight(40), pauseFor(2), weight(60), pauseFor(2), weight(80)))
	s.observe(r, cluster.Bounds{MaxPods: 7, MinAvailable: 4})
	writer := s.startWriter()
	s.setTag(r.Name, "two")
	for range 3 {
		writer.awaitMore(s, 10)
		s.must(s.Kill(s.ctx(), cluster.Server))
		s.must(s.Start(s.ctx(), cluster.Server))
	}
	writer.awaitMore(s, 10)
	acknowledged := writer.stop()
	for name, count := range acknowledged {
		if got := s.get(name).Annotations[countAnnotation]; got < count {
			s.Errorf("%s has count %q, though %q was acknowledged", name, got, count)
		}
	}
	s.Logf("%d Rollouts written while the server was killed three times", len(acknowledged))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.pods(r, map[string]int{"two": 5})
}

// countAnnotation is what the writer counts in: with leading zeros, so that the later text is the greater.
const countAnnotation = "example.com/count"

// writer creates Rollouts and changes them until it is stopped, and remembers what was acknowledged.
type writer struct {
	stopped context.CancelFunc
	done    sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string]string
	writes       int
}

// startWriter starts a writer of Rollouts without pods.
func (s *scenario) startWriter() *writer {
	ctx, stop := context.WithCancel(s.Context())
	w := &writer{stopped: stop, acknowledged: map[string]string{}}
	w.done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			w.write(ctx, s, fmt.Sprintf("written-%d", i))
		}
	})
	return w
}

// write creates one Rollout and changes it a few times. A request that fails is not acknowledged; whether
// it was stored is open.
func (w *writer) write(ctx context.Context, s *scenario, name string) {
	r, err := s.rollouts().Create(ctx, newRollout(name, 0), metav1.CreateOptions{})
	for count := 0; err == nil && count < 5; count++ {
		value := fmt.Sprintf("%03d", count)
		if r, err = s.patchContext(ctx, name, `{"metadata":{"annotations":{"`+countAnnotation+`":"`+value+`"}}}`); err == nil {
			w.mu.Lock()
			w.acknowledged[r.Name] = value
			w.writes++
			w.mu.Unlock()
		}
	}
}

// awaitMore waits until so many further writes were acknowledged.
func (w *writer) awaitMore(s *scenario, more int) {
	s.Helper()
	begin := w.count()
	s.eventually("further writes", func(context.Context) bool { return w.count() >= begin+more })
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

func (w *writer) stop() map[string]string {
	w.stopped()
	w.done.Wait()
	return w.acknowledged
}

// SIGTERM ends the server in less than 10 s, the default of a pod being 30, though watches are open.
func serverEndsInGoodOrder(s *scenario) {
	r := s.deploy(newRollout("watched", 1))
	var open []watch.Interface
	for range 20 {
		w, err := s.rollouts().Watch(s.ctx(), metav1.ListOptions{})
		s.must(err)
		open = append(open, w)
	}
	heard := s.listenThroughRestart(r.Name)
	began := time.Now()
	s.must(s.Stop(s.ctx(), cluster.Server))
	if took := time.Since(began); took > 10*time.Second {
		s.Errorf("the server took %v to end", took)
	} else {
		s.Logf("the server ended in %v with %d watches open", took.Round(time.Millisecond), len(open))
	}
	for _, w := range open {
		w.Stop()
	}
	s.must(s.Start(s.ctx(), cluster.Server))
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.Logf("answers through the restart: %v", heard())
}

// A Secret whose key somebody has spoilt is made anew, and kube-apiserver told of it.
func certificateSpoilt(s *scenario) {
	r := s.deploy(newRollout("certified", 1))
	secrets := s.Host.CoreV1().Secrets("sluice-system")
	secret, err := secrets.Get(s.ctx(), "sluice-apiserver-serving", metav1.GetOptions{})
	s.must(err)
	before := secret.Data[corev1.TLSCertKey]
	secret.Data[corev1.TLSPrivateKeyKey] = []byte("spoilt")
	_, err = secrets.Update(s.ctx(), secret, metav1.UpdateOptions{})
	s.must(err)
	s.must(s.Stop(s.ctx(), cluster.Server))
	s.must(s.Start(s.ctx(), cluster.Server))
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	secret, err = secrets.Get(s.ctx(), secret.Name, metav1.GetOptions{})
	s.must(err)
	if bytes.Equal(secret.Data[corev1.TLSCertKey], before) {
		s.Error("the certificate is the same as before")
	}
}

// listenThroughRestart asks for the Rollout over and over until the returned function is called, which then
// tells how often each answer came. While the server goes there is 429 and while it is away 503, both of
// which say that it is to be tried again, and nothing that a client could take for the truth: neither
// Forbidden nor NotFound.
func (s *scenario) listenThroughRestart(name string) func() map[int]int {
	ctx, stop := context.WithCancel(s.Context())
	answers := map[int]int{}
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			got := s.ask(s.Config.Host, http.MethodGet, "/apis/sluice.dev/v1alpha1/namespaces/"+s.namespace+"/rollouts/"+name, "")
			answers[got.code]++
			if got.code != http.StatusOK && got.code != http.StatusServiceUnavailable && got.code != http.StatusTooManyRequests {
				s.Errorf("answered with %d while the server was restarted: %s", got.code, got.body)
			}
		}
	})
	return func() map[int]int {
		stop()
		done.Wait()
		return answers
	}
}

// With an etcd of its own a second server stands by; when the leader is killed it takes over within 5 s.
func leaderKilled(first *scenario) {
	c, err := cluster.Up(first.ctx(), cluster.Options{Dir: first.TempDir(), SharedEtcd: true})
	first.must(err)
	first.Cleanup(func() {
		if first.Failed() {
			showLog(c, cluster.SecondServer)
		}
		if err := c.Down(context.WithoutCancel(first.Context())); err != nil {
			first.Error(err)
		}
	})
	s := newScenario(first.T, c)
	r := s.deploy(newRollout("led", 5, weight(20), pauseFor(1), weight(40), pauseFor(1), weight(60), pause()))
	s.observe(r, cluster.Bounds{MaxPods: 7, MinAvailable: 4})
	s.must(c.Start(s.ctx(), cluster.SecondServer))
	leader := s.leader("")
	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	killed := time.Now()
	s.must(c.Kill(s.ctx(), cluster.Server))
	next := s.leader(leader)
	took := time.Since(killed)
	s.Logf("%s took over from %s after %v", next, leader, took.Round(time.Millisecond))
	if took > 5*time.Second {
		s.Errorf("the other server took over after %v", took)
	}
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 5, Weight: 60, Pods: map[string]int{"one": 2, "two": 3}})
	_, err = s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
	s.must(err)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
}

// leader waits for a leader other than the one named, and returns its name.
func (s *scenario) leader(other string) string {
	s.Helper()
	var leader string
	_, err := cluster.Await(s.ctx(), s.Lease("sluice-system", "sluice-controller"), func(found []*coordinationv1.Lease) string {
		if len(found) == 1 && found[0].Spec.HolderIdentity != nil {
			leader = *found[0].Spec.HolderIdentity
		}
		return unless(leader != "" && leader != other, "another leader than "+other)
	})
	s.must(err)
	return leader
}
