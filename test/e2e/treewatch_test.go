// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Stock kubectl follows a tree: all its rows, and again whenever one of them has changed.
func TestTreeWatchOfStockKubectl(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("followed")
	s.drawn(r.Name, 2)
	for _, args := range [][]string{
		{"get", "rollouttree", r.Name, "-w"},
		{"get", treeResource, "-w"},
		{"get", treeResource, "-w", "--field-selector=metadata.name=" + r.Name, "-o", "wide"},
	} {
		log := s.auditLog()
		output := s.stream(args...)
		root := func(step int32) string { return fmt.Sprintf("step %d/6", step) }
		now := *s.get(r.Name).Status.CurrentStepIndex
		output.awaitLine(root(now))
		output.awaitLine("stable")
		// Of one object by its name kubectl drops the first event of the watch, as the one that it has already printed
		// from its read: a change between the two is never printed, whatever the object.
		log.await(s, "the watch has begun", func(e *auditv1.Event) bool {
			ref := e.ObjectRef
			return e.Stage == auditv1.StageResponseStarted && e.Verb == "watch" && ref.Resource == "rollouttrees" && ref.Namespace == s.namespace
		})
		s.must(s.call(http.MethodPost, r.Name, "promote", "{}").err)
		output.awaitLine(root(now + 1))
		output.awaitLine("stable")
	}
}

// treeEvents is a watch of trees of which every event is held against the promises.
type treeEvents struct {
	*scenario
	watcher watch.Interface
	last    map[string]*v1alpha1.RolloutTree
	// begun is when the watch was asked for, and count is of the events that were told of after the initial ones.
	begun time.Time
	count map[string]int
}

func (s *scenario) watchTrees(options metav1.ListOptions) *treeEvents {
	s.Helper()
	begun := time.Now()
	watcher, err := s.trees().Watch(s.ctx(), options)
	s.must(err)
	s.Cleanup(watcher.Stop)
	return &treeEvents{scenario: s, watcher: watcher, last: map[string]*v1alpha1.RolloutTree{}, begun: begun, count: map[string]int{}}
}

// next is the next event. It fails the test if nothing has changed since the last one of the same tree.
func (e *treeEvents) next() watch.Event {
	e.Helper()
	select {
	case event, open := <-e.watcher.ResultChan():
		if !open {
			e.Fatal("the watch has ended")
		}
		tree, ok := event.Object.(*v1alpha1.RolloutTree)
		if !ok {
			e.Fatalf("the watch ends with %+v", event.Object)
		}
		if event.Type == watch.Modified {
			e.judge(tree)
		}
		e.last[tree.Name] = tree.DeepCopy()
		return event
	case <-time.After(limit):
		e.Fatal("no event")
		return watch.Event{}
	}
}

func (e *treeEvents) judge(tree *v1alpha1.RolloutTree) {
	e.Helper()
	e.count[tree.Name]++
	if before := e.last[tree.Name]; before != nil {
		before.ResourceVersion = tree.ResourceVersion
		if apiequality.Semantic.DeepEqual(before, tree) {
			e.Errorf("an event of %s tells nothing new", tree.Name)
		}
	}
}

// noFasterThanTwoASecond fails the test if a tree has changed more often since the watch was asked for. One event more may
// tell of a change before that, after which the next needs not wait for a whole interval.
func (e *treeEvents) noFasterThanTwoASecond(name string) {
	e.Helper()
	if span := time.Since(e.begun); float64(e.count[name]) > 2*span.Seconds()+2 {
		e.Errorf("%d events of %s in %v", e.count[name], name, span)
	}
}

// A watch from nothing, or from 0, begins with all trees; a stream of the list ends with its bookmark.
func TestTreeWatchBeginsWithAllTrees(t *testing.T) {
	s := together(t)
	names := sets.New("one", "two", "three")
	for name := range names {
		s.deploy(newRollout(name, 1))
		s.drawn(name, 1)
	}
	for what, options := range map[string]metav1.ListOptions{
		"no version": {},
		"version 0":  {ResourceVersion: "0"},
		"a streamed list": {SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true,
			ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan},
	} {
		events, seen := s.watchTrees(options), sets.New[string]()
		for range names {
			event := events.next()
			if event.Type != watch.Added {
				t.Errorf("%s: begins with %s", what, event.Type)
			}
			seen.Insert(event.Object.(*v1alpha1.RolloutTree).Name)
		}
		if !seen.Equal(names) {
			t.Errorf("%s: begins with %v", what, seen)
		}
		if options.SendInitialEvents == nil {
			continue
		}
		end := events.next()
		if tree := end.Object.(*v1alpha1.RolloutTree); end.Type != watch.Bookmark || tree.Annotations[metav1.InitialEventsAnnotationKey] != "true" || tree.ResourceVersion == "" {
			t.Errorf("%s: ends with %s %+v", what, end.Type, tree.ObjectMeta)
		}
	}
}

// A watch from the version of a list tells of the trees that changed since, and of nothing else; at most twice a
// second, and not if no row of a tree has changed.
func TestTreeWatchFromAVersion(t *testing.T) {
	s := together(t)
	for _, name := range []string{"busy", "still"} {
		s.deploy(newRollout(name, 1))
		s.drawn(name, 1)
	}
	list, err := s.trees().List(s.ctx(), metav1.ListOptions{})
	s.must(err)
	s.kubectl("annotate", resource, "still", "nothing=to-see")
	s.kubectl("scale", resource, "busy", "--replicas=2")
	s.deploy(newRollout("late", 1))
	events := s.watchTrees(metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	first := map[string]watch.EventType{}
	for len(first) < 2 {
		event := events.next()
		if name := event.Object.(*v1alpha1.RolloutTree).Name; first[name] == "" {
			first[name] = event.Type
		}
	}
	if first["busy"] != watch.Modified || first["late"] != watch.Added {
		t.Errorf("the first events since the list are %v", first)
	}
	const writes = 40
	for i := range writes {
		_, err := s.rollouts().Patch(s.ctx(), "busy", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"write":"%d"}},"spec":{"replicas":%d}}`, i, 2+i%4), metav1.PatchOptions{})
		s.must(err)
	}
	s.kubectl("scale", resource, "busy", "--replicas=7")
	for {
		tree := events.next().Object.(*v1alpha1.RolloutTree)
		events.noFasterThanTwoASecond("busy")
		if tree.Name == "still" {
			t.Errorf("a tree without a change is told of: %+v", tree)
		}
		if tree.Name == "busy" && tree.Rollout.AvailableReplicas == 7 {
			break
		}
	}
	t.Logf("%d events for %d writes", events.count["busy"], writes)

	s.kubectl("delete", resource, "still")
	for event := events.next(); event.Type != watch.Deleted; event = events.next() {
	}
	_, err = s.trees().Watch(s.ctx(), metav1.ListOptions{ResourceVersion: s.get("busy").ResourceVersion})
	s.refused(err, http.StatusGone, "list again")
}
