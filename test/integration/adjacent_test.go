// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	rolloutsclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

var older = flag.String("older", "", "program of the server of the version before, for the test that both serve side by side")

// adjacent are three replicas, of which some are of the version before, with two Rollouts.
type adjacent struct {
	all []*replica
	// older is the program of the version before.
	older string
	// updates is how often the Rollout "moving" was updated.
	updates int
	// still is what "still" was when it was at rest. Nobody changes it.
	still *v1alpha1.Rollout
	sets  []*appsv1.ReplicaSet
}

// Three replicas are replaced one after the other by a newer version, and one of them goes back: at each point
// every one of them serves what the others write, whichever leads, and no version starts a revision of its own accord.
func TestTwoVersionsServeSideBySide(t *testing.T) {
	if *older == "" {
		t.Skip("not run: -older names no server of the version before; make test-adjacent builds one")
	}
	program, err := filepath.Abs(*older)
	if err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t)
	a := &adjacent{all: newReplicas(t, namespace), older: program}
	for _, r := range a.all {
		r.program = program
		r.run(t)
	}
	for _, r := range a.all {
		r.ready(t)
	}
	for _, name := range []string{"still", "moving"} {
		if _, err := a.rollouts(0).Create(t.Context(), newRollout(name, weight(30), pause(), weight(60), pause()), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		a.all[0].await(t, name, "Healthy", healthy)
	}
	observer, err := host.Observe(t.Context(), metav1.NamespaceDefault, "app=moving", cluster.Bounds{MaxPods: 4, MinAvailable: 3})
	if err != nil {
		t.Fatal(err)
	}
	a.still, a.sets = a.state(t)
	for i := range a.all {
		a.replace(t, i, "")
	}
	a.replace(t, 0, program)
	a.replace(t, 0, "")
	tally, err := observer.Stop()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d states were watched", tally.States)
}

func (a *adjacent) rollouts(i int) rolloutsclient.RolloutInterface {
	return a.all[i].client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
}

// replace has the replica be of another version, and an update go through its steps by way of all of them.
func (a *adjacent) replace(t *testing.T, i int, program string) {
	t.Helper()
	r := a.all[i]
	// In the midst of an update.
	a.updates++
	image := fmt.Sprint("app:", a.updates)
	if _, err := a.rollouts(i).Patch(t.Context(), "moving", types.JSONPatchType, imagePatch(image), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.await(t, "moving", "at its first pause", atFirstPause)
	r.kill()
	r.program = program
	r.run(t)
	r.ready(t)
	a.agree(t)
	// The steps are promoted by the replica that is new and by another, and seen by the third.
	for step, by := range []int{i, (i + 1) % 3} {
		at := int32(2*step + 1)
		a.all[by].await(t, "moving", fmt.Sprint("paused at step ", at), func(r *v1alpha1.Rollout) bool {
			return paused(r) && ptr.Deref(r.Status.CurrentStepIndex, -1) == at
		})
		if _, err := a.rollouts(by).Promote(t.Context(), "moving", &v1alpha1.Promotion{}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	moved := a.all[(i+2)%3].await(t, "moving", "Healthy with "+image, func(r *v1alpha1.Rollout) bool {
		return healthy(r) && r.Spec.Template.Spec.Containers[0].Image == image && r.Status.StableRS == r.Status.CurrentPodHash
	})
	if want := int64(a.updates + 1); moved.Status.Revision != want {
		t.Errorf("%d updates made revision %d, want %d", a.updates, moved.Status.Revision, want)
	}
	still, sets := a.state(t)
	if !equality.Semantic.DeepEqual(still, a.still) {
		t.Errorf("nobody has touched %+v, and it is %+v", a.still, still)
	}
	if len(sets) != 1 || sets[0].UID != a.sets[0].UID || sets[0].Generation != a.sets[0].Generation {
		t.Errorf("nobody has touched its ReplicaSets %v, and they are %v", names(a.sets), names(sets))
	}
}

// agree waits until all replicas are ready and tell of the same version of the Rollout, and fails if it is not the same
// Rollout.
func (a *adjacent) agree(t *testing.T) {
	t.Helper()
	for _, r := range a.all {
		r.ready(t)
	}
	var seen []*v1alpha1.Rollout
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		seen = nil
		for i := range a.all {
			got, err := a.rollouts(i).Get(ctx, "moving", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			seen = append(seen, got)
		}
		// Whoever leads may write in between.
		return !slices.ContainsFunc(seen, func(r *v1alpha1.Rollout) bool { return r.ResourceVersion != seen[0].ResourceVersion }), nil
	})
	if err != nil {
		t.Fatalf("the replicas answer %+v: %v", seen, err)
	}
	for _, got := range seen[1:] {
		if !equality.Semantic.DeepEqual(got, seen[0]) {
			t.Errorf("one replica answers %+v, another %+v", got, seen[0])
		}
	}
}

// state is the Rollout that nobody touches, and its ReplicaSets.
func (a *adjacent) state(t *testing.T) (*v1alpha1.Rollout, []*appsv1.ReplicaSet) {
	t.Helper()
	still, err := a.rollouts(0).Get(t.Context(), "still", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := host.Host.AppsV1().ReplicaSets(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{LabelSelector: "app=still"})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("got the ReplicaSets %v, %v", list, err)
	}
	var sets []*appsv1.ReplicaSet
	for i := range list.Items {
		sets = append(sets, &list.Items[i])
	}
	return still, sets
}

func names(sets []*appsv1.ReplicaSet) []string {
	var all []string
	for _, set := range sets {
		all = append(all, set.Name)
	}
	return slices.Sorted(slices.Values(all))
}
