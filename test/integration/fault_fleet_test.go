// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/reliability"
)

const (
	// fleetReplicas is how many pods each Rollout of a fleet has, of which one may be lacking and to which one may be
	// added.
	fleetReplicas = 4
	// writeInterval is the time between two writes of those who write while there is a fault.
	writeInterval = 50 * time.Millisecond
	// settleTime is how long it may take from the end of a fault until all is at rest: an informer that has failed for a
	// minute waits up to a minute more.
	settleTime = 3 * time.Minute
	// counterAnnotation is what they write.
	counterAnnotation = "example.com/counter"
)

var fleetBounds = cluster.Bounds{MaxPods: fleetReplicas + 1, MinAvailable: fleetReplicas - 1}

// fleet is Rollouts that are updated while there is a fault: some move through their steps, and one waits at a pause
// that only a person ends. A watch of the host holds every state of their pods against the bounds.
type fleet struct {
	*instance
	moving  []string
	waiting string
	// image is the newest, of which there have been so many before.
	image   string
	updates int
	uids    map[string]types.UID

	observers map[string]*cluster.Observer
	writers   sync.WaitGroup
	stop      context.CancelFunc

	mu sync.Mutex
	// written is the last number that was acknowledged for each Rollout.
	written map[string]int
	// seen is what was seen since the last time that all was at rest.
	seen reliability.Seen
	// refusals are what failed writes and reads were told, and how often.
	refusals map[string]int
}

// newFleet makes one and waits until it is at rest. The changes are made to every Rollout of it.
func newFleet(t *testing.T, s *instance, prefix string, changes ...func(*v1alpha1.Rollout)) *fleet {
	t.Helper()
	f := &fleet{instance: s, waiting: prefix + "-waiting", uids: map[string]types.UID{}, observers: map[string]*cluster.Observer{},
		written: map[string]int{}, refusals: map[string]int{}}
	for i := range 3 {
		f.moving = append(f.moving, fmt.Sprint(prefix, "-moving-", i))
	}
	second := intstr.FromInt32(1)
	brief := v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{Duration: &second}}
	for _, name := range f.all() {
		r := newRollout(name, weight(25), brief, weight(75), brief)
		if name == f.waiting {
			r = newRollout(name, weight(50), pause(), weight(75), pause())
		}
		*r.Spec.Replicas = fleetReplicas
		one := intstr.FromInt32(1)
		r.Spec.Strategy.Canary.MaxSurge, r.Spec.Strategy.Canary.MaxUnavailable = &one, &one
		for _, change := range changes {
			change(r)
		}
		created, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Create(t.Context(), r, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.uids[name] = created.UID
	}
	for _, name := range f.all() {
		s.await(t, name, "Healthy", healthy)
		observer, err := host.ObserveThrough(t.Context(), metav1.NamespaceDefault, "app="+name, fleetBounds)
		if err != nil {
			t.Fatal(err)
		}
		f.observers[name] = observer
	}
	return f
}

func (f *fleet) all() []string { return append(slices.Clone(f.moving), f.waiting) }

// update sets a new image everywhere, has the waiting one arrive at its pause, and has people write from now on.
func (f *fleet) update(t *testing.T) {
	t.Helper()
	f.updates++
	f.image = fmt.Sprint("app:", f.updates)
	f.setImage(t, f.waiting)
	f.await(t, f.waiting, "Paused", atFirstPause)
	for _, name := range f.moving {
		f.setImage(t, name)
	}
	ctx, stop := context.WithCancel(t.Context())
	f.stop = stop
	for _, name := range f.all() {
		f.writers.Go(func() { f.write(ctx, name) })
	}
}

func (f *fleet) setImage(t *testing.T, name string) {
	t.Helper()
	if _, err := f.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Patch(t.Context(), name, types.JSONPatchType, imagePatch(f.image), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func atFirstPause(r *v1alpha1.Rollout) bool {
	return paused(r) && r.Status.CurrentStepIndex != nil && *r.Status.CurrentStepIndex == 1
}

// write counts up in an annotation, and notes what was acknowledged.
func (f *fleet) write(ctx context.Context, name string) {
	number := f.last(name)
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		number++
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"%d"}}}`, counterAnnotation, number)
		// Nobody waits for ever.
		request, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := f.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Patch(request, name, types.MergePatchType, patch, metav1.PatchOptions{})
		if ctx.Err() != nil && err != nil {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil {
			f.seen.Failed++
			f.refusals[kindOf(err)]++
			return
		}
		f.seen.Acknowledged++
		f.written[name] = number
	}, writeInterval)
}

func (f *fleet) last(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written[name]
}

// kindOf is an error without what differs from one to the next.
func kindOf(err error) string {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return string(reason)
	}
	return err.Error()
}

// settle waits until everything has come to where it belongs, with the fault over, and returns what was sum. The
// waiting one must still wait then, and go on when somebody promotes it.
func (f *fleet) settle(t *testing.T) reliability.Seen {
	t.Helper()
	for _, name := range f.moving {
		f.awaitWithin(t, name, "Healthy with "+f.image, settleTime, func(r *v1alpha1.Rollout) bool { return healthy(r) && f.runs(r) })
	}
	f.await(t, f.waiting, "at its pause", atFirstPause)
	f.stop()
	f.writers.Wait()
	f.checkWritten(t)
	f.promote(t)
	f.await(t, f.waiting, "Healthy", func(r *v1alpha1.Rollout) bool { return healthy(r) && f.runs(r) })
	f.checkPods(t)
	sum := f.seen
	for name, observer := range f.observers {
		tally, err := observer.Tally()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		observer.SetBounds(fleetBounds)
		sum.States += tally.States
		sum.Gaps += tally.Gaps
	}
	t.Logf("%d writes were acknowledged and %d failed: %v; %d states were watched, with %d gaps", sum.Acknowledged, sum.Failed, f.refusals, sum.States, sum.Gaps)
	f.seen, f.refusals = reliability.Seen{}, map[string]int{}
	return sum
}

// runs tells whether a Rollout has done with the newest image.
func (f *fleet) runs(r *v1alpha1.Rollout) bool {
	return r.Spec.Template.Spec.Containers[0].Image == f.image && r.Status.StableRS == r.Status.CurrentPodHash
}

// promote promotes the waiting one to its end. What others wrote a moment ago may still be on its way.
func (f *fleet) promote(t *testing.T) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := f.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Promote(ctx, f.waiting, &v1alpha1.Promotion{Full: true}, metav1.CreateOptions{})
		if apierrors.IsConflict(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkWritten holds what is stored against what was acknowledged. A write that failed may have been made all the
// same, so that more may be there.
func (f *fleet) checkWritten(t *testing.T) {
	t.Helper()
	for _, name := range f.all() {
		r, err := f.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("%s is lost: %v", name, err)
		}
		if r.UID != f.uids[name] {
			t.Errorf("%s has another UID", name)
		}
		if stored, _ := strconv.Atoi(r.Annotations[counterAnnotation]); stored < f.written[name] {
			t.Errorf("%s: write %d was acknowledged, and %d is what is there", name, f.written[name], stored)
		}
	}
}

// checkPods holds the pods and ReplicaSets that there are at the end against those that should be.
func (f *fleet) checkPods(t *testing.T) {
	t.Helper()
	want := map[string]int{fmt.Sprint(f.updates): fleetReplicas}
	for _, name := range f.all() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		sets, err := host.ReplicaSets(metav1.NamespaceDefault, "app="+name).Now(ctx)
		if err == nil && len(sets) > f.revisions(t, name) {
			t.Errorf("%s has %d ReplicaSets for its %d revisions", name, len(sets), f.revisions(t, name))
		}
		if err == nil {
			_, err = cluster.Await(ctx, host.Pods(metav1.NamespaceDefault, "app="+name), func(pods []*corev1.Pod) string {
				if count := cluster.PodsByTag(pods); !maps.Equal(count, want) {
					return fmt.Sprintf("they are %v instead of %v", count, want)
				}
				return ""
			})
		}
		cancel()
		if err != nil {
			t.Error(err)
		}
	}
}

// revisions is how many revisions a Rollout has had.
func (f *fleet) revisions(t *testing.T, name string) int {
	t.Helper()
	r, err := f.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return int(r.Status.Revision)
}

// stopObserving ends the watches of the host, and reports what they saw that must not be.
func (f *fleet) stopObserving(t *testing.T) {
	t.Helper()
	for name, observer := range f.observers {
		if _, err := observer.Stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
