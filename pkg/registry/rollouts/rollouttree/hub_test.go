// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func TestGet(t *testing.T) {
	f := newFixture(t, "demo")
	obj, err := f.Get(inShop, "demo", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if tree := obj.(*rollouts.RolloutTree); tree.Name != "demo" || tree.UID != "uid-demo" || tree.ResourceVersion == "" || len(tree.Revisions) != 3 {
		t.Errorf("%+v", tree)
	}
	if _, err := f.Get(inShop, "none", &metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("no such tree: %v", err)
	}
	f.caches.mu.Lock()
	defer f.caches.mu.Unlock()
	if f.observed != 2 || len(f.subscribers) != 0 {
		t.Errorf("a get looked at %d Rollouts and left %d subscribers", f.observed, len(f.subscribers))
	}
}

func TestColdCachesAreServiceUnavailable(t *testing.T) {
	f := newFixture(t, "demo")
	f.err = errors.New("cold")
	for what, rest := range map[string]*REST{"cold caches": f.REST, "no source": NewREST(nil, f.clock)} {
		_, get := rest.Get(inShop, "demo", nil)
		_, list := rest.List(inShop, nil)
		_, watch := rest.Watch(inShop, nil)
		for _, err := range []error{get, list, watch} {
			if !apierrors.IsServiceUnavailable(err) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

func TestListSelects(t *testing.T) {
	f := newFixture(t, "one", "two")
	for want, options := range map[string]*metainternalversion.ListOptions{
		"one": {FieldSelector: named("one")},
		"two": {LabelSelector: labels.SelectorFromSet(labels.Set{"app": "two"})},
		"":    {FieldSelector: fields.OneTermEqualSelector("metadata.namespace", "other")},
	} {
		var got []string
		for _, tree := range f.list(options).Items {
			got = append(got, tree.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("listed %v, want %s", got, want)
		}
	}
	if n := len(f.list(nil).Items); n != 2 {
		t.Errorf("listed %d, want 2", n)
	}
	if _, err := f.List(inShop, &metainternalversion.ListOptions{FieldSelector: fields.OneTermEqualSelector("status.phase", "x")}); !apierrors.IsBadRequest(err) {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestWatchFromNowhereBeginsWithAllTrees(t *testing.T) {
	f := newFixture(t, "demo")
	for _, version := range []string{"", "0"} {
		f.expect(f.watch(metainternalversion.ListOptions{ResourceVersion: version, FieldSelector: named("demo")}), "ADDED demo 4")
	}
}

func TestWatchTellsOfChangesOnceAndOfNothingElse(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{})
	f.expect(w, "ADDED demo 4")
	f.pass()
	f.set("demo", func(r *rollouts.Rollout) { r.ResourceVersion = "touched" }) // No row shows that.
	f.set("demo", ready(3))
	f.expect(w, "MODIFIED demo 3")
	f.set("other", same)
	f.expect(w, "ADDED other 4")
	f.pass()
	f.set("demo", nil)
	f.expect(w, "DELETED demo 3")
}

func TestWatchIsNoFasterThanTwoASecond(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{})
	f.expect(w, "ADDED demo 4")
	for i := range int32(20) {
		f.set("demo", ready(i))
	}
	f.set("marker", same)
	f.expect(w, "ADDED marker 4") // Told at once, and nothing of demo before it.
	f.pass()
	f.expect(w, "MODIFIED demo 19")
}

// A change that is noted while its tree is being looked at puts the tree back into the queue at once.
func TestATreeThatIsLookedAtTwiceIsNoFaster(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{})
	f.expect(w, "ADDED demo 4")
	f.set("demo", ready(3))
	f.hub.mu.Lock()
	f.hub.following.queue.Add(types.NamespacedName{Namespace: "shop", Name: "demo"})
	f.hub.mu.Unlock()
	f.set("marker", same)
	f.expect(w, "ADDED marker 4")
	f.pass()
	f.expect(w, "MODIFIED demo 3")
}

func TestWatchFromAVersionTellsWhatChangedSince(t *testing.T) {
	f := newFixture(t, "same", "changed", "gone")
	since := f.list(nil).ResourceVersion
	f.pass()
	f.set("changed", ready(1))
	f.set("gone", nil)
	f.set("new", same)
	w := f.watch(metainternalversion.ListOptions{ResourceVersion: since})
	got := map[string]bool{}
	for range 3 {
		got[f.next(w)] = true
	}
	for _, want := range []string{"MODIFIED changed 1", "DELETED gone 4", "ADDED new 4"} {
		if !got[want] {
			t.Errorf("got %v, not %q", got, want)
		}
	}
	f.pass()
	f.set("same", ready(2))
	f.expect(w, "MODIFIED same 2")
}

func TestUnknownVersionsAreExpired(t *testing.T) {
	f := newFixture(t, "demo")
	other := NewREST(f.caches, f.clock)
	other.hub.version.origin = (f.hub.version.origin + 1) % origins
	defer other.Destroy()
	foreign, err := other.List(inShop, nil)
	if err != nil {
		t.Fatal(err)
	}
	idle := f.list(nil).ResourceVersion
	f.hub.mu.Lock()
	f.hub.end()
	f.hub.mu.Unlock()
	for what, version := range map[string]string{
		"another server's": foreign.(*rollouts.RolloutTreeList).ResourceVersion,
		"of the future":    f.hub.version.format(f.hub.version.now + 5),
		"before the break": idle,
		"of etcd":          "1234",
	} {
		if _, err := f.Watch(inShop, &metainternalversion.ListOptions{ResourceVersion: version}); !apierrors.IsResourceExpired(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestInitialEventsEndWithABookmark(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	f.expect(w, "ADDED demo 4", "BOOKMARK  0 end")
	eventually(t, func() bool { return f.clock.HasWaiters() })
	f.clock.Step(bookmarkInterval)
	f.expect(w, "BOOKMARK  0")
}

func TestLabelsThatChangeMoveATreeInAndOut(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{"app": "demo"})})
	f.expect(w, "ADDED demo 4")
	f.pass()
	f.set("demo", func(r *rollouts.Rollout) { r.Labels = nil })
	f.expect(w, "DELETED demo 4")
	f.pass()
	f.set("demo", func(r *rollouts.Rollout) { r.Labels = map[string]string{"app": "demo"} })
	f.expect(w, "ADDED demo 4")
}

func TestAnotherRolloutOfTheSameNameIsAnotherTree(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{})
	f.expect(w, "ADDED demo 4")
	f.pass()
	f.set("demo", func(r *rollouts.Rollout) { r.UID = "another" })
	f.expect(w, "DELETED demo 4", "ADDED demo 4")
}

func TestASlowReaderGetsTheNewestState(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{})
	f.expect(w, "ADDED demo 4")
	for i := range int32(5) {
		f.pass()
		f.set("demo", ready(i))
		eventually(t, func() bool {
			f.hub.mu.Lock()
			defer f.hub.mu.Unlock()
			return f.hub.following.known[types.NamespacedName{Namespace: "shop", Name: "demo"}].tree.Rollout.ReadyReplicas == i
		})
	}
	last, events := "", 0
	for last != "MODIFIED demo 4" {
		last = f.next(w)
		events++
	}
	if events > 2 { // One may have been on its way already.
		t.Errorf("%d events for one that is worth reading", events)
	}
}

func TestNobodyLooksNobodyFollows(t *testing.T) {
	f := newFixture(t, "demo")
	w := f.watch(metainternalversion.ListOptions{})
	f.expect(w, "ADDED demo 4")
	w.Stop()
	for range w.ResultChan() {
	}
	eventually(t, func() bool {
		f.clock.Step(idleTime)
		f.caches.mu.Lock()
		defer f.caches.mu.Unlock()
		return len(f.subscribers) == 0
	})
}

func TestDeletedTreesAreForgottenInTheEnd(t *testing.T) {
	f := newFixture(t)
	since := f.list(nil).ResourceVersion
	w := f.watch(metainternalversion.ListOptions{})
	for i := range mostGone + 2 {
		name := fmt.Sprintf("demo%d", i)
		f.set(name, same)
		f.expect(w, "ADDED "+name+" 4")
	}
	f.pass()
	for i := range mostGone + 2 {
		f.set(fmt.Sprintf("demo%d", i), nil)
	}
	for range mostGone + 2 {
		f.next(w)
	}
	if _, err := f.Watch(inShop, &metainternalversion.ListOptions{ResourceVersion: since}); !apierrors.IsResourceExpired(err) {
		t.Errorf("from before they were forgotten: %v", err)
	}
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
		<-time.After(time.Millisecond)
	}
}
