// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/generated/clientset/versioned"
	rolloutsclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
)

const (
	// writers and readers send perSecond requests each: 200 verbs and 200 reads a second.
	writers, readers, perSecond = 20, 20, 10
	// promised is how long a caller may wait, with the retries that client-go makes.
	promised = 2 * time.Second
	// patience is after how long a caller gives up.
	patience = 30 * time.Second
	// counter is the annotation that a writer counts in.
	counter = "ha.sluice.dev/count"
)

// load are clients that read and write through kube-apiserver.
type load struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu     sync.Mutex
	tooks  []time.Duration
	late   int
	failed []string
	// written is the count that was acknowledged last, by Rollout.
	written map[string]int
}

func application(i int) string { return fmt.Sprintf("ha-%d", i) }

func newRollout(name string) *v1alpha1.Rollout {
	labels := map[string]string{"app": name}
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{counter: "0"}},
		Spec: v1alpha1.RolloutSpec{
			// What is under test is the server, not the node.
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "sluice.dev/demoapp:blue"}}},
			},
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{}},
		},
	}
}

// startLoad has every writer write to a Rollout of its own, and the readers read all of them.
func startLoad(t *testing.T, config *rest.Config, namespace string) *load {
	t.Helper()
	l := &load{written: map[string]int{}}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(t.Context())
	t.Cleanup(func() {
		l.stop()
		l.clients.Wait()
	})
	for i := range writers {
		client := l.client(t, config, namespace)
		l.clients.Go(func() { l.each(ctx, func(ctx context.Context, n int) { l.write(ctx, client, application(i), n) }) })
	}
	for i := range readers {
		client := l.client(t, config, namespace)
		l.clients.Go(func() {
			l.each(ctx, func(ctx context.Context, n int) { l.read(ctx, client, application(i%writers), n) })
		})
	}
	return l
}

func (l *load) client(t *testing.T, config *rest.Config, namespace string) rolloutsclient.RolloutInterface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.SluiceV1alpha1().Rollouts(namespace)
}

// each calls do at the rate, or as fast as it is answered if that is slower.
func (l *load) each(ctx context.Context, do func(ctx context.Context, n int)) {
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do(ctx, n)
		}
	}
}

// write counts, pauses, counts, resumes, and so on.
func (l *load) write(ctx context.Context, rollouts rolloutsclient.RolloutInterface, name string, n int) {
	var call func(context.Context) error
	switch n % 4 {
	case 0, 2:
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, counter, strconv.Itoa(n))
		call = func(ctx context.Context) error {
			_, err := rollouts.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		}
	case 1:
		call = func(ctx context.Context) error {
			_, err := rollouts.Pause(ctx, name, &v1alpha1.Pause{}, metav1.CreateOptions{})
			return err
		}
	case 3:
		call = func(ctx context.Context) error {
			_, err := rollouts.Resume(ctx, name, &v1alpha1.Resume{}, metav1.CreateOptions{})
			return err
		}
	}
	if l.measured(ctx, fmt.Sprintf("write %d to %s", n, name), call) && n%2 == 0 {
		l.mu.Lock()
		l.written[name] = n
		l.mu.Unlock()
	}
}

// read gets a Rollout, and every tenth time lists all: none may ever be missing.
func (l *load) read(ctx context.Context, rollouts rolloutsclient.RolloutInterface, name string, n int) {
	l.measured(ctx, "read of "+name, func(ctx context.Context) error {
		if n%10 != 0 {
			_, err := rollouts.Get(ctx, name, metav1.GetOptions{})
			return err
		}
		list, err := rollouts.List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) != writers {
			return fmt.Errorf("a list has %d Rollouts of %d", len(list.Items), writers)
		}
		return err
	})
}

// measured notes how long a call took, and whether it was answered. A conflict is an answer: that a verb was performed
// already, which the caller had not been told.
func (l *load) measured(ctx context.Context, what string, call func(context.Context) error) bool {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	start := time.Now()
	err := call(bounded)
	took := time.Since(start)
	if ctx.Err() != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tooks = append(l.tooks, took)
	if err != nil && !apierrors.IsConflict(err) {
		l.failed = append(l.failed, fmt.Sprintf("%s: %s after %v: %v", start.Format("15:04:05.000"), what, took.Round(time.Millisecond), err))
		return false
	}
	if took > promised {
		l.late++
	}
	return err == nil
}

// figures are what callers saw.
type figures struct {
	requests, late int
	failed         []string
	median, worst  time.Duration
	// quantile999 is within what 99.9 % were answered.
	quantile999 time.Duration
}

// take returns the figures since it was called last.
func (l *load) take() figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := figures{requests: len(l.tooks), late: l.late, failed: l.failed}
	slices.Sort(l.tooks)
	if n := len(l.tooks); n > 0 {
		f.median, f.quantile999, f.worst = l.tooks[n/2], l.tooks[n*999/1000], l.tooks[n-1]
	}
	l.tooks, l.late, l.failed = nil, 0, nil
	return f
}

// good is the share of requests that were answered in time. Unit: percent.
func (f figures) good() float64 {
	return 100 * float64(f.requests-f.late-len(f.failed)) / float64(max(1, f.requests))
}

// String is one line.
func (f figures) String() string {
	return fmt.Sprintf("%d requests, %d failed, %d later than %v: %.3f %% good; median %v, 99.9 %% within %v, worst %v", f.requests, len(f.failed), f.late, promised, f.good(),
		f.median.Round(time.Millisecond), f.quantile999.Round(time.Millisecond), f.worst.Round(time.Millisecond))
}

// verify fails unless every Rollout has what was acknowledged last, or more.
func (l *load) verify(t *testing.T, rollouts rolloutsclient.RolloutInterface) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, want := range l.written {
		r, err := rollouts.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Errorf("a Rollout is lost: %v", err)
			continue
		}
		if have, err := strconv.Atoi(r.Annotations[counter]); err != nil || have < want {
			t.Errorf("%s has count %q, and %d was acknowledged", name, r.Annotations[counter], want)
		}
	}
}
