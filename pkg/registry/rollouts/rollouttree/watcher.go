// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// bookmarkInterval is the time between two bookmarks, for those who want them.
const bookmarkInterval = time.Minute

// selection is which trees a reader wants.
type selection struct {
	// namespace and name are those of the Rollouts; empty for all.
	namespace, name string
	labels          labels.Selector
}

// names is true if a Rollout may be of the selection by its name.
func (s selection) names(key types.NamespacedName) bool {
	return (s.namespace == "" || s.namespace == key.Namespace) && (s.name == "" || s.name == key.Name)
}

// matches is true if a tree is of the selection.
func (s selection) matches(tree *rollouts.RolloutTree) bool {
	return s.names(types.NamespacedName{Namespace: tree.Namespace, Name: tree.Name}) && (s.labels == nil || s.labels.Matches(labels.Set(tree.Labels)))
}

// beginning is what a watch begins with.
type beginning struct {
	// version is the one from which on changes are wanted; empty for all trees.
	version string
	// from is the same, read.
	from uint64
	// silent leaves out all trees at the beginning where no version is given.
	silent bool
	// bookmarkEnd ends the trees at the beginning with a bookmark that says so.
	bookmarkEnd bool
	// bookmarks are sent from time to time.
	bookmarks bool
}

// watcher is one watch. It never holds up the hub: what its reader has not taken yet waits in pending, where a
// newer state of a tree takes the place of an older one.
type watcher struct {
	hub   *hub
	which selection
	start beginning

	result chan watch.Event
	done   chan struct{}
	stop   sync.Once

	mu      sync.Mutex
	pending []told
	more    chan struct{}
	// seen are the trees that the reader knows of.
	seen map[types.NamespacedName]bool
}

// told is an event that waits to be taken.
type told struct {
	key   types.NamespacedName
	event watch.Event
}

var _ watch.Interface = &watcher{}

func newWatcher(h *hub, which selection, start beginning) *watcher {
	return &watcher{
		hub: h, which: which, start: start,
		result: make(chan watch.Event), done: make(chan struct{}), more: make(chan struct{}, 1),
		seen: map[types.NamespacedName]bool{},
	}
}

// ResultChan is where the events come from. It is closed at the end.
func (w *watcher) ResultChan() <-chan watch.Event { return w.result }

// Stop ends the watch.
func (w *watcher) Stop() {
	w.end()
	w.hub.leave(w)
}

func (w *watcher) end() { w.stop.Do(func() { close(w.done) }) }

// begin tells of a tree as it is when the watch begins.
func (w *watcher) begin(key types.NamespacedName, e *entry) {
	if e.version > w.start.from && w.start.from > 0 || w.start.version == "" && !w.start.silent && !e.deleted {
		w.mu.Lock()
		known := w.start.from > 0 && e.first <= w.start.from
		if known && !w.seen[key] {
			w.seen[key] = true
		}
		w.mu.Unlock()
		w.tell(key, e)
		return
	}
	if !e.deleted && w.which.matches(e.tree) {
		w.mu.Lock()
		w.seen[key] = true
		w.mu.Unlock()
	}
}

// tell tells of a change, as the reader sees it: a tree that comes into the selection is added, one that leaves it
// is deleted.
func (w *watcher) tell(key types.NamespacedName, e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	event := watch.Event{Type: watch.Modified, Object: e.tree}
	matches := !e.deleted && w.which.matches(e.tree)
	switch seen := w.seen[key]; {
	case matches && !seen:
		event.Type = watch.Added
	case !matches && seen:
		event.Type = watch.Deleted
	case !matches:
		return
	}
	w.seen[key] = matches
	w.add(told{key, event})
}

// add appends an event, or replaces one that was not taken yet. w.mu is held.
func (w *watcher) add(t told) {
	if t.event.Type == watch.Modified {
		for i := len(w.pending) - 1; i >= 0; i-- {
			if w.pending[i].key != t.key {
				continue
			}
			if w.pending[i].event.Type != watch.Deleted {
				w.pending[i].event.Object = t.event.Object
				return
			}
			break
		}
	}
	w.pending = append(w.pending, t)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// bookmark tells of the version up to which everything was told.
func (w *watcher) bookmark(version string, annotations map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(told{event: watch.Event{Type: watch.Bookmark, Object: &rollouts.RolloutTree{
		ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, Annotations: annotations},
	}}})
}

// run hands events out until the watch ends.
func (w *watcher) run() {
	defer close(w.result)
	var due <-chan time.Time
	if w.start.bookmarks {
		ticker := w.hub.clock.NewTicker(bookmarkInterval)
		defer ticker.Stop()
		due = ticker.C()
	}
	for {
		for next, ok := w.take(); ok; next, ok = w.take() {
			select {
			case w.result <- watch.Event{Type: next.event.Type, Object: next.event.Object.DeepCopyObject()}:
			case <-w.done:
				return
			}
		}
		select {
		case <-w.more:
		case <-due:
			w.remind()
		case <-w.done:
			return
		}
	}
}

// remind adds a bookmark. Under the lock of the hub nothing can change before its version is taken.
func (w *watcher) remind() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.bookmark(w.hub.version.format(w.hub.version.now), nil)
}

func (w *watcher) take() (told, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return told{}, false
	}
	next := w.pending[0]
	w.pending = w.pending[1:]
	return next, true
}
