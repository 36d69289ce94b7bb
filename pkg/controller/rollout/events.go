// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

const (
	// eventWindow is how long after an event others of the same Rollout and reason are gathered into
	// one more. An update that hurries through its steps writes two events about them, not ten.
	eventWindow = 30 * time.Second
	// eventBurst and eventRate are how many events a Rollout may have at once, and per second later.
	eventBurst = 50
	eventRate  = 1.0 / 30
)

// recorder writes the events of Rollouts to the host cluster: the first of its kind at once, those
// that follow within eventWindow as one.
type recorder struct {
	sink  record.EventRecorder
	due   workqueue.TypedDelayingInterface[eventKey]
	mu    sync.Mutex
	kinds map[eventKey]*gathered
}

// eventKey is what events must share to be gathered.
type eventKey struct {
	regarding corev1.ObjectReference
	kind      string
	reason    string
}

// gathered is what came after the last event that was written.
type gathered struct {
	// written is the message of that event.
	written string
	// message is that of the newest event since, and count how many came since.
	message string
	count   int
}

func newRecorder(ctx context.Context, host kubernetes.Interface, clock clock.WithTicker) *recorder {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx),
		record.WithCorrelatorOptions(record.CorrelatorOptions{BurstSize: eventBurst, QPS: eventRate}))
	broadcaster.StartRecordingToSink(countingSink{&typedcorev1.EventSinkImpl{Interface: host.CoreV1().Events("")}})
	return &recorder{
		sink:  broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: fieldManager}),
		due:   workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[eventKey]{Clock: clock}),
		kinds: map[eventKey]*gathered{},
	}
}

// run writes what was gathered when its time has come, until ctx is done.
func (r *recorder) run(ctx context.Context) {
	defer context.AfterFunc(ctx, r.due.ShutDown)()
	for {
		key, stop := r.due.Get()
		if stop {
			return
		}
		r.flush(key)
		r.due.Done(key)
	}
}

// record takes an event in.
func (r *recorder) record(about *v1alpha1.Rollout, e engine.Event) {
	key := eventKey{regarding: reference(about.Namespace, about.Name, about.UID), kind: corev1.EventTypeNormal, reason: e.Reason}
	if e.Warning {
		key.kind = corev1.EventTypeWarning
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if g, ok := r.kinds[key]; ok {
		g.message, g.count = e.Message, g.count+1
		return
	}
	r.write(key, e.Message)
}

// flush writes what was gathered of one kind, and forgets the kind if that is nothing. The same
// message over and over is one event.
func (r *recorder) flush(key eventKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.kinds[key]
	delete(r.kinds, key)
	switch {
	case g.count == 0 || g.message == g.written:
	case g.count == 1:
		r.write(key, g.message)
	default:
		r.write(key, fmt.Sprintf("%s (and %d more of this kind in %v)", g.message, g.count-1, eventWindow))
	}
}

func (r *recorder) write(key eventKey, message string) {
	r.kinds[key] = &gathered{written: message}
	r.due.AddAfter(key, eventWindow)
	r.sink.Event(&key.regarding, key.kind, key.reason, message)
}

// reference is how an event names a Rollout.
func reference(namespace, name string, uid types.UID) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: v1alpha1.SchemeGroupVersion.String(),
		Kind:       "Rollout",
		Namespace:  namespace,
		Name:       name,
		UID:        uid,
	}
}

// countingSink counts the writes of events.
type countingSink struct{ record.EventSink }

// Create writes a new event.
func (s countingSink) Create(event *corev1.Event) (*corev1.Event, error) {
	hostWrites.WithLabelValues("create", "events").Inc()
	return s.EventSink.Create(event)
}

// Update replaces an event.
func (s countingSink) Update(event *corev1.Event) (*corev1.Event, error) {
	hostWrites.WithLabelValues("update", "events").Inc()
	return s.EventSink.Update(event)
}

// Patch changes an event.
func (s countingSink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	hostWrites.WithLabelValues("patch", "events").Inc()
	return s.EventSink.Patch(event, data)
}
