// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"fmt"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

const (
	// leastInterval is the time between two changes of one tree: at most two a second.
	leastInterval = 500 * time.Millisecond
	// idleTime is how long changes are still followed after the last reader has gone, so that one who lists and
	// then watches misses none.
	idleTime = 5 * time.Minute
	// mostGone is how many deleted trees are remembered.
	mostGone = 1000
)

// Source is what trees are made of: the caches of the controller.
type Source interface {
	// Keys are the names of the Rollouts of a namespace, or of all for "". It fails while the caches are cold.
	Keys(namespace string) ([]types.NamespacedName, error)
	// Observe is a Rollout with its ReplicaSets and pods; false if there is none.
	Observe(key types.NamespacedName) (engine.Snapshot, bool)
	// Subscribe calls changed for each Rollout of which anything changes, until cancel. It must not block.
	Subscribe(changed func(types.NamespacedName)) (cancel func())
}

// hub gives trees their versions and tells watchers of changes. It follows changes only while somebody looks, and
// knows only the trees that somebody has looked at.
type hub struct {
	source Source
	clock  clock.WithTicker

	mu      sync.Mutex
	version *counter
	// following is not nil while changes are followed.
	following *following
	watchers  map[*watcher]struct{}
}

// following is one time in which changes are followed.
type following struct {
	// since is the version from which on all changes are known.
	since uint64
	known map[types.NamespacedName]*entry
	// gone is how many of known are of trees that were deleted.
	gone   int
	queue  workqueue.TypedDelayingInterface[types.NamespacedName]
	cancel func()
	ended  chan struct{}
	// lastUse is when somebody last looked.
	lastUse time.Time
}

// entry is a tree as it was last shown. It is replaced, never modified.
type entry struct {
	tree *rollouts.RolloutTree
	// version is that of its last change, and first that of when it was first seen.
	version, first uint64
	// changed is when it last changed.
	changed time.Time
	// deleted is true if there is no such Rollout any more.
	deleted bool
}

// same is true if a tree is no other than this one; it is then given its version.
func (e *entry) same(tree *rollouts.RolloutTree) bool {
	tree.ResourceVersion = e.tree.ResourceVersion
	return !e.deleted && apiequality.Semantic.DeepEqual(e.tree, tree)
}

func newHub(source Source, clock clock.WithTicker) *hub {
	return &hub{source: source, clock: clock, version: newCounter(clock.Now()), watchers: map[*watcher]struct{}{}}
}

// follow begins to follow changes, if that is not done yet. h.mu is held.
func (h *hub) follow() *following {
	if h.following != nil {
		h.following.lastUse = h.clock.Now()
		return h.following
	}
	f := &following{
		since:   h.version.next(),
		known:   map[types.NamespacedName]*entry{},
		queue:   workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[types.NamespacedName]{Clock: h.clock}),
		ended:   make(chan struct{}),
		lastUse: h.clock.Now(),
	}
	f.cancel = h.source.Subscribe(func(key types.NamespacedName) { h.noteChange(f, key) })
	h.following = f
	go h.run(f)
	go h.awaitIdle(f, h.clock.NewTicker(idleTime))
	return f
}

// awaitIdle ends following when nobody has looked for a while.
func (h *hub) awaitIdle(f *following, ticker clock.Ticker) {
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
			h.endIfIdle(f)
		case <-f.ended:
			return
		}
	}
}

// endIfIdle stops following changes if nobody has looked for a while. Versions from before are then unknown.
func (h *hub) endIfIdle(f *following) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.following == f && len(h.watchers) == 0 && h.clock.Since(f.lastUse) >= idleTime {
		h.end()
	}
}

// end stops following changes. h.mu is held.
func (h *hub) end() {
	if h.following != nil {
		h.following.cancel()
		h.following.queue.ShutDown()
		close(h.following.ended)
		h.following = nil
	}
}

// close ends everything.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end()
	for w := range h.watchers {
		w.end()
	}
}

// noteChange has a tree looked at again, as soon as it may change again.
func (h *hub) noteChange(f *following, key types.NamespacedName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := f.known[key]
	if e == nil && !h.watched(key) {
		return
	}
	wait := time.Duration(0)
	if e != nil {
		wait = leastInterval - h.clock.Since(e.changed)
	}
	f.queue.AddAfter(key, wait)
}

func (h *hub) watched(key types.NamespacedName) bool {
	for w := range h.watchers {
		if w.which.names(key) {
			return true
		}
	}
	return false
}

// run looks at trees that may have changed, until the queue is shut down.
func (h *hub) run(f *following) {
	for {
		key, ended := f.queue.Get()
		if ended {
			return
		}
		h.mu.Lock()
		if h.following == f {
			h.lookAgain(f, key)
		}
		h.mu.Unlock()
		f.queue.Done(key)
	}
}

// look brings the entry of a tree up to date and tells watchers if it changed; nil if there never was such a tree.
// h.mu is held.
func (h *hub) look(f *following, key types.NamespacedName) *entry {
	old := f.known[key]
	snapshot, found := h.source.Observe(key)
	switch {
	case !found && (old == nil || old.deleted):
		return old
	case !found:
		f.gone++
		return h.change(f, key, &entry{tree: old.tree, first: old.first, deleted: true})
	}
	tree := treeOf(snapshot)
	if old != nil && !old.deleted && old.tree.UID == tree.UID {
		if old.same(tree) {
			return old
		}
		return h.change(f, key, &entry{tree: tree, first: old.first})
	}
	if old != nil && !old.deleted {
		// Another Rollout of the same name: the one before is gone.
		h.change(f, key, &entry{tree: old.tree, first: old.first, deleted: true})
	}
	if old != nil && old.deleted {
		f.gone--
	}
	return h.change(f, key, &entry{tree: tree})
}

// lookAgain is look, unless the tree may not change again yet: then its next state is on its way. h.mu is held.
func (h *hub) lookAgain(f *following, key types.NamespacedName) *entry {
	if e := f.known[key]; e != nil && h.clock.Since(e.changed) < leastInterval {
		f.queue.AddAfter(key, leastInterval-h.clock.Since(e.changed))
		return e
	}
	return h.look(f, key)
}

// change makes e the newest state of a tree.
func (h *hub) change(f *following, key types.NamespacedName, e *entry) *entry {
	e.version, e.changed = h.version.next(), h.clock.Now()
	if e.first == 0 {
		e.first = e.version
	}
	tree := *e.tree
	tree.ResourceVersion = h.version.format(e.version)
	e.tree = &tree
	f.known[key] = e
	for w := range h.watchers {
		if w.which.names(key) {
			w.tell(key, e)
		}
	}
	h.forgetGone(f)
	return e
}

// forgetGone forgets deleted trees if there are too many. Who has not heard of them by now has to list again.
func (h *hub) forgetGone(f *following) {
	if f.gone <= mostGone {
		return
	}
	for key, e := range f.known {
		if e.deleted {
			delete(f.known, key)
		}
	}
	f.gone, f.since = 0, h.version.now
}

// get is the tree of a Rollout; nil if there is none.
func (h *hub) get(key types.NamespacedName) *rollouts.RolloutTree {
	snapshot, found := h.source.Observe(key)
	if !found {
		return nil
	}
	tree := treeOf(snapshot).DeepCopy()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.following != nil {
		if e := h.following.known[key]; e != nil && e.same(tree) {
			return tree
		}
	}
	tree.ResourceVersion = h.version.format(h.version.now)
	return tree
}

// list is the trees of a selection, with the version that they are all of.
func (h *hub) list(which selection) (*rollouts.RolloutTreeList, error) {
	keys, err := h.keys(which)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.follow()
	list := &rollouts.RolloutTreeList{Items: []rollouts.RolloutTree{}}
	for _, key := range keys {
		if e := h.lookAgain(f, key); e != nil && !e.deleted && which.matches(e.tree) {
			list.Items = append(list.Items, *e.tree.DeepCopy())
		}
	}
	list.ResourceVersion = h.version.format(h.version.now)
	return list, nil
}

// keys are the Rollouts that may be of a selection.
func (h *hub) keys(which selection) ([]types.NamespacedName, error) {
	if which.name != "" && which.namespace != "" {
		// The caches are asked all the same, since they may be cold.
		if _, err := h.source.Keys(which.namespace); err != nil {
			return nil, err
		}
		return []types.NamespacedName{{Namespace: which.namespace, Name: which.name}}, nil
	}
	return h.source.Keys(which.namespace)
}

// watch tells of changes from a version on: of all trees if begin.initial, else of those that changed since.
func (h *hub) watch(which selection, begin beginning) (watch.Interface, error) {
	keys, err := h.keys(which)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.follow()
	if begin.version != "" {
		version, ours := h.version.parse(begin.version)
		if !ours || version < f.since {
			return nil, expired(begin.version)
		}
		begin.from = version
	}
	for _, key := range keys {
		h.lookAgain(f, key)
	}
	w := newWatcher(h, which, begin)
	h.watchers[w] = struct{}{}
	for key, e := range f.known {
		if which.names(key) {
			w.begin(key, e)
		}
	}
	if begin.bookmarkEnd {
		w.bookmark(h.version.format(h.version.now), map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	go w.run()
	return w, nil
}

// leave forgets a watcher.
func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
	if h.following != nil {
		h.following.lastUse = h.clock.Now()
	}
}

// knows is true for a version that this hub has given out.
func (h *hub) knows(version string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ours := h.version.parse(version)
	return ours
}

// now is the newest version.
func (h *hub) now() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.version.format(h.version.now)
}

func expired(version string) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("the resourceVersion %s of trees is not known here any more: list again", version))
}
