// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

const (
	// floodTick is the time after which the next events of a flood are due.
	floodTick = 10 * time.Millisecond
	// floodAnnotation is what differs from one event of a flood to the next.
	floodAnnotation = "example.com/flood"
)

// flood is a watch of pods that tells of every pod again and again, each time with another annotation, and of what truly
// happens in between.
type flood struct {
	// rate is how many events a second.
	rate  int
	begun time.Time
	// sent is how many of them were taken.
	sent atomic.Int64
}

// flood begins one, for the watch of pods that begins next.
func (f *faultyHost) flood(t *testing.T, rate int) *flood {
	t.Helper()
	now := &flood{rate: rate, begun: time.Now()}
	f.put(func(http.ResponseWriter, *http.Request) bool { return false })
	f.mu.Lock()
	f.flooding = now
	f.mu.Unlock()
	if f.endWatches() == 0 {
		t.Error("there was no watch to flood")
	}
	return now
}

// flooded is the answer to a watch with what a flood adds.
func (f *faultyHost) flooded(r *http.Response) (io.ReadCloser, error) {
	f.mu.Lock()
	now, lifted := f.flooding, f.lifted
	f.mu.Unlock()
	if now == nil || r.Request.URL.Path != "/api/v1/pods" {
		return r.Body, nil
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		panic("pods have no protobuf")
	}
	// Every pod of this list is one that the watch has told of, or will yet, as it will of the end of each.
	list, err := host.Host.CoreV1().Pods(metav1.NamespaceAll).List(r.Request.Context(), metav1.ListOptions{LabelSelector: rollouts.PodTemplateHashLabel})
	if err != nil {
		return nil, err
	}
	from, to := io.Pipe()
	p := &pouring{flood: now, to: bufio.NewWriterSize(to, 64<<10), pods: list.Items}
	stream := info.StreamSerializer
	p.encoder = restwatch.NewEncoder(streaming.NewEncoder(stream.Framer.NewFrameWriter(p.to), stream.Serializer), info.Serializer)
	decoder := restwatch.NewDecoder(streaming.NewDecoder(stream.Framer.NewFrameReader(r.Body), stream.Serializer), scheme.Codecs.UniversalDeserializer())
	ctx, cancel := context.WithCancel(r.Request.Context())
	events := make(chan watch.Event)
	go func() {
		defer close(events)
		for {
			kind, object, err := decoder.Decode()
			if err != nil {
				return
			}
			select {
			case events <- watch.Event{Type: kind, Object: object}:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer cancel()
		to.CloseWithError(p.pour(events, lifted))
	}()
	return poured{from, r.Body}, nil
}

// poured is the answer as who watches reads it.
type poured struct {
	*io.PipeReader
	body io.Closer
}

// Close ends both sides.
func (p poured) Close() error {
	p.PipeReader.Close()
	return p.body.Close()
}

// pouring is a flood of one watch.
type pouring struct {
	*flood
	to      *bufio.Writer
	encoder *restwatch.Encoder
	// pods are those that there are, as they truly are.
	pods []corev1.Pod
}

// pour writes what happens and, until it is lifted, the flood.
func (p *pouring) pour(events <-chan watch.Event, lifted <-chan struct{}) error {
	ticker := time.NewTicker(floodTick)
	defer ticker.Stop()
	for {
		var err error
		select {
		case event, more := <-events:
			if !more {
				return io.EOF
			}
			p.note(event)
			err = p.encoder.Encode(&event)
		case <-lifted:
			ticker.Stop()
			lifted = nil
			err = p.calm()
		case <-ticker.C:
			err = p.more()
		}
		if err == nil {
			err = p.to.Flush()
		}
		if err != nil {
			return err
		}
	}
}

// note keeps what truly is.
func (p *pouring) note(event watch.Event) {
	pod, ok := event.Object.(*corev1.Pod)
	if !ok || event.Type == watch.Bookmark {
		return
	}
	p.pods = slices.DeleteFunc(p.pods, func(known corev1.Pod) bool { return known.UID == pod.UID })
	if event.Type != watch.Deleted {
		p.pods = append(p.pods, *pod)
	}
}

// more writes the events that are due by now, though never so many at once that what happens waits for long.
func (p *pouring) more() error {
	due := int64(time.Since(p.begun).Seconds()*float64(p.rate)) - p.sent.Load()
	for range min(due, int64(p.rate/10)) {
		if len(p.pods) == 0 {
			return nil
		}
		number := p.sent.Add(1)
		pod := p.pods[number%int64(len(p.pods))]
		// An event with the version of the last one would be none.
		version, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
		if err != nil {
			return err
		}
		pod.ResourceVersion = strconv.FormatUint(version+uint64(number/int64(len(p.pods))%2), 10)
		pod.Annotations = map[string]string{floodAnnotation: strconv.FormatInt(number, 10)}
		if err := p.tell(&pod); err != nil {
			return err
		}
	}
	return nil
}

// calm tells of every pod as it is.
func (p *pouring) calm() error {
	for i := range p.pods {
		if err := p.tell(&p.pods[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *pouring) tell(pod *corev1.Pod) error {
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	return p.encoder.Encode(&watch.Event{Type: watch.Modified, Object: pod})
}
