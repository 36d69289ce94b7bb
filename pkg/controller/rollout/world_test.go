// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	hostfake "k8s.io/client-go/kubernetes/fake"
	hostscheme "k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
	rolloutfake "sluice.dev/sluice/pkg/generated/clientset/versioned/fake"
	rolloutscheme "sluice.dev/sluice/pkg/generated/clientset/versioned/scheme"
)

const (
	testNamespace = "shop"
	patience      = 20 * time.Second
)

// world is a host cluster and a store of Rollouts, faked as far as the shell can tell them from real
// ones: they count resourceVersions and check preconditions. Nothing in it makes pods.
type world struct {
	t        *testing.T
	host     *hostfake.Clientset
	rollouts *rolloutfake.Clientset
	versions atomic.Int64
	// stored is what the host holds, for changes from within a request.
	stored clienttesting.ObjectTracker
	// held keeps watch events of a resource back while its lock is held.
	held map[string]*sync.RWMutex
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, host: &hostfake.Clientset{}, rollouts: &rolloutfake.Clientset{},
		held: map[string]*sync.RWMutex{"replicasets": {}, "rollouts": {}, "services": {}, "pods": {}}}
	w.versions.Store(1000)
	w.stored = w.serve(&w.host.Fake, hostscheme.Scheme, hostscheme.Codecs.UniversalDecoder())
	w.serve(&w.rollouts.Fake, rolloutscheme.Scheme, rolloutscheme.Codecs.UniversalDecoder())
	return w
}

func (w *world) serve(fake *clienttesting.Fake, scheme *runtime.Scheme, decoder runtime.Decoder) clienttesting.ObjectTracker {
	tracker := &versionedTracker{ObjectTracker: clienttesting.NewObjectTracker(scheme, decoder), next: &w.versions}
	fake.AddReactor("*", "*", clienttesting.ObjectReaction(tracker))
	fake.AddWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		opts := action.(clienttesting.WatchActionImpl).ListOptions
		watcher, err := tracker.Watch(action.GetResource(), action.GetNamespace(), opts)
		if lock := w.held[action.GetResource().Resource]; err == nil && lock != nil {
			watcher = watch.Filter(watcher, func(in watch.Event) (watch.Event, bool) {
				lock.RLock()
				defer lock.RUnlock()
				return in, true
			})
		}
		return true, watcher, err
	})
	return tracker
}

// versionedTracker gives objects a UID and resourceVersions, and refuses writes of a state that is
// gone.
type versionedTracker struct {
	clienttesting.ObjectTracker
	mu   sync.Mutex
	next *atomic.Int64
}

func (v *versionedTracker) stamp(obj runtime.Object) runtime.Object {
	obj = obj.DeepCopyObject()
	object, _ := meta.Accessor(obj)
	object.SetResourceVersion(strconv.FormatInt(v.next.Add(1), 10))
	if object.GetUID() == "" {
		object.SetUID(types.UID("uid-of-" + object.GetName()))
	}
	return obj
}

// Create stores a new object.
func (v *versionedTracker) Create(gvr schema.GroupVersionResource, obj runtime.Object, ns string, opts ...metav1.CreateOptions) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ObjectTracker.Create(gvr, v.stamp(obj), ns, opts...)
}

// Update stores a new state of an object.
func (v *versionedTracker) Update(gvr schema.GroupVersionResource, obj runtime.Object, ns string, opts ...metav1.UpdateOptions) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check(gvr, obj, ns); err != nil {
		return err
	}
	return v.ObjectTracker.Update(gvr, v.stamp(obj), ns, opts...)
}

// Patch stores a patched state of an object, and shows it to the caller.
func (v *versionedTracker) Patch(gvr schema.GroupVersionResource, obj runtime.Object, ns string, opts ...metav1.PatchOptions) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check(gvr, obj, ns); err != nil {
		return err
	}
	stamped := v.stamp(obj)
	from, _ := meta.Accessor(stamped)
	to, _ := meta.Accessor(obj)
	to.SetResourceVersion(from.GetResourceVersion())
	return v.ObjectTracker.Patch(gvr, stamped, ns, opts...)
}

// Delete removes an object.
func (v *versionedTracker) Delete(gvr schema.GroupVersionResource, ns, name string, opts ...metav1.DeleteOptions) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(opts) > 0 && opts[0].Preconditions != nil {
		named := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, UID: *opts[0].Preconditions.UID, ResourceVersion: *opts[0].Preconditions.ResourceVersion}}
		if err := v.check(gvr, named, ns); err != nil {
			return err
		}
	}
	return v.ObjectTracker.Delete(gvr, ns, name, opts...)
}

func (v *versionedTracker) check(gvr schema.GroupVersionResource, obj runtime.Object, ns string) error {
	wanted, _ := meta.Accessor(obj)
	stored, err := v.ObjectTracker.Get(gvr, ns, wanted.GetName())
	if err != nil {
		return err
	}
	current, _ := meta.Accessor(stored)
	if uid := wanted.GetUID(); uid != "" && uid != current.GetUID() {
		return apierrors.NewConflict(gvr.GroupResource(), wanted.GetName(), fmt.Errorf("uid is %s", current.GetUID()))
	}
	if version := wanted.GetResourceVersion(); version != "" && version != current.GetResourceVersion() {
		return apierrors.NewConflict(gvr.GroupResource(), wanted.GetName(), fmt.Errorf("resourceVersion is %s", current.GetResourceVersion()))
	}
	return nil
}

// hold keeps the watch events of a resource back until the returned function is called, or the test
// ends.
func (w *world) hold(resource string) (letGo func()) {
	w.held[resource].Lock()
	letGo = sync.OnceFunc(w.held[resource].Unlock)
	w.t.Cleanup(letGo)
	return letGo
}

// addRollout stores a Rollout.
func (w *world) addRollout(name string) *v1alpha1.Rollout {
	w.t.Helper()
	r, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Create(w.t.Context(), testRollout(name), metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// addReplicaSet stores a ReplicaSet as given.
func (w *world) addReplicaSet(rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	w.t.Helper()
	rs, err := w.host.AppsV1().ReplicaSets(testNamespace).Create(w.t.Context(), rs, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return rs
}

func (w *world) rollout(name string) *v1alpha1.Rollout {
	w.t.Helper()
	r, err := w.rollouts.SluiceV1alpha1().Rollouts(testNamespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// touch changes a ReplicaSet as somebody else would.
func (w *world) touch(name string) {
	w.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"touched":"%d"}}}`, w.versions.Load())
	if _, err := w.host.AppsV1().ReplicaSets(testNamespace).Patch(w.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// writes lists the writes of both clients as "verb resource[/subresource] name", without those of
// the test itself that came before, and without the Lease and events.
func (w *world) writes() []string {
	var out []string
	for _, action := range append(w.host.Actions(), w.rollouts.Actions()...) {
		resource := action.GetResource().Resource
		if resource == "leases" || resource == "events" {
			continue
		}
		if sub := action.GetSubresource(); sub != "" {
			resource += "/" + sub
		}
		switch a := action.(type) {
		case clienttesting.CreateActionImpl:
			object, _ := meta.Accessor(a.Object)
			out = append(out, "create "+resource+" "+object.GetName())
		case clienttesting.UpdateActionImpl:
			object, _ := meta.Accessor(a.Object)
			out = append(out, "update "+resource+" "+object.GetName())
		case clienttesting.PatchActionImpl:
			out = append(out, "patch "+resource+" "+a.Name)
		case clienttesting.DeleteActionImpl:
			out = append(out, "delete "+resource+" "+a.Name)
		}
	}
	return out
}

// count counts the writes that have the prefix.
func (w *world) count(prefix string) int {
	n := 0
	for _, write := range w.writes() {
		if strings.HasPrefix(write, prefix) {
			n++
		}
	}
	return n
}

// forgetActions forgets what was requested so far.
func (w *world) forgetActions() {
	w.host.ClearActions()
	w.rollouts.ClearActions()
}

// start runs a controller with a scripted engine until the test ends, and returns when it leads.
func (w *world) start(decide func(engine.Snapshot) engine.Decision, change ...func(*Config)) *Controller {
	w.t.Helper()
	c := w.controller(decide, change...)
	w.run(c)
	eventually(w.t, "the controller leads", c.Leading)
	return c
}

func (w *world) controller(decide func(engine.Snapshot) engine.Decision, change ...func(*Config)) *Controller {
	w.t.Helper()
	config := Config{Rollouts: w.rollouts, Host: w.host, Namespace: "sluice-system", Clock: clock.RealClock{}}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	c.decide = decide
	return c
}

// run runs c until the returned function is called, or the test ends.
func (w *world) run(c *Controller) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(stop)
	return stop
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(time.Millisecond)
	}
}

func testTemplate(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
	}
}

func testRollout(name string) *v1alpha1.Rollout {
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name},
		Spec: v1alpha1.RolloutSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: testTemplate("web:1"),
		},
		Status: v1alpha1.RolloutStatus{CurrentPodHash: "abc"},
	}
}

// testReplicaSet is the ReplicaSet of revision hash of r, with the given size.
func testReplicaSet(r *v1alpha1.Rollout, hash string, replicas int32) *appsv1.ReplicaSet {
	template := testTemplate("web:1")
	template.Labels[rollouts.PodTemplateHashLabel] = hash
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name + "-" + hash, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.SchemeGroupVersion.WithKind("Rollout"))}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Template: template},
	}
	return rs
}

func refTo(rs *appsv1.ReplicaSet) engine.ReplicaSetRef {
	return engine.ReplicaSetRef{Name: rs.Name, UID: rs.UID, ResourceVersion: rs.ResourceVersion}
}

func testKey(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: testNamespace, Name: name}
}

func itoa(v uint64) string { return strconv.FormatUint(v, 10) }

// liveSize is the size of a ReplicaSet in the host; -1 if there is none.
func (w *world) liveSize(name string) int32 {
	rs, err := w.host.AppsV1().ReplicaSets(testNamespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return -1
	}
	return *rs.Spec.Replicas
}

// events are the messages of the events in the host.
func (w *world) events(t *testing.T) (messages []string) {
	t.Helper()
	list, err := w.host.CoreV1().Events(testNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		messages = append(messages, e.Message)
	}
	return messages
}

// replicaSetSize is the size of a ReplicaSet as the cache shows it; -1 if it shows none.
func (c *Controller) replicaSetSize(name string) int32 {
	obj, exists, err := c.replicaSets.GetStore().GetByKey(testNamespace + "/" + name)
	if err != nil || !exists {
		return -1
	}
	return *obj.(*appsv1.ReplicaSet).Spec.Replicas
}
