// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
}

// await waits for a change after which the condition holds.
func await(t *testing.T, f *Feed[corev1.Pod], condition func() bool) {
	t.Helper()
	limit := time.After(wait.ForeverTestTimeout)
	for !condition() {
		select {
		case <-f.Changed():
		case <-limit:
			t.Fatal("the change was not seen")
		}
	}
}

func TestFeedFollows(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watcher := watch.NewFake()
	client := fake.NewClientset(newPod("first"))
	client.PrependWatchReactor("pods", clienttesting.DefaultWatchReactor(watcher, nil))
	feed := NewFeed[corev1.Pod]("pods", client.CoreV1().Pods("shop"), metav1.ListOptions{})
	if err := feed.Start(ctx); err != nil {
		t.Fatal(err)
	}
	names := func() []string {
		var names []string
		for _, pod := range feed.Objects() {
			names = append(names, pod.Name)
		}
		slices.Sort(names)
		return names
	}
	if got := names(); !slices.Equal(got, []string{"first"}) {
		t.Fatalf("after Start the list is there, not %v", got)
	}
	watcher.Add(newPod("second"))
	await(t, feed, func() bool { return len(names()) == 2 })
	watcher.Delete(newPod("first"))
	await(t, feed, func() bool { return slices.Equal(names(), []string{"second"}) })
}

func TestFeedAsksForWhatItWasToldTo(t *testing.T) {
	client := fake.NewClientset()
	feed := NewFeed[corev1.Pod]("pods", client.CoreV1().Pods("shop"), metav1.ListOptions{LabelSelector: "app=web", FieldSelector: "metadata.name=x"})
	if err := feed.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := client.Actions()[0].(clienttesting.ListAction).GetListRestrictions()
	if list.Labels.String() != "app=web" || list.Fields.String() != "metadata.name=x" {
		t.Errorf("listed %v", list)
	}
}

func TestFeedStartFailsWithTheFirstRefusal(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("no"))
	})
	feed := NewFeed[corev1.Pod]("pods", client.CoreV1().Pods("shop"), metav1.ListOptions{})
	if err := feed.Start(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want Forbidden", err)
	}
}

func TestFeedProblem(t *testing.T) {
	feed := NewFeed[corev1.Pod]("pods", fake.NewClientset().CoreV1().Pods("shop"), metav1.ListOptions{})
	tests := []struct {
		rule string
		err  error
		want string
	}{
		{"nothing is wrong", nil, ""},
		{"a failure is told", errors.New("refused"), "cannot watch pods, trying again: refused"},
		{"that a watch must start anew does not change that", apierrors.NewResourceExpired("old"), "cannot watch pods, trying again: refused"},
		{"a success ends it", nil, ""},
		{"an expired watch is normal", apierrors.NewResourceExpired("old"), ""},
	}
	for _, test := range tests {
		feed.note(test.err)
		got := ""
		if err := feed.Problem(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.rule, got, test.want)
		}
	}
}

func TestRunPaintsAtOnceAndAfterEveryChange(t *testing.T) {
	changed, painted := make(chan struct{}), make(chan int)
	ended := make(chan error, 1)
	go func() {
		count := 0
		ended <- Run(t.Context(), Pace{}, changed, func() (bool, error) {
			count++
			painted <- count
			return count == 3, nil
		})
	}()
	<-painted
	for range 2 {
		changed <- struct{}{}
		<-painted
	}
	if err := <-ended; err != nil {
		t.Errorf("done is no error: %v", err)
	}
}

func TestRunPaintsAtEveryBeat(t *testing.T) {
	count := 0
	err := Run(t.Context(), Pace{Beat: time.Millisecond}, nil, func() (bool, error) {
		count++
		return count == 3, nil
	})
	if err != nil || count != 3 {
		t.Errorf("painted %d times, %v", count, err)
	}
}

func TestRunKeepsItsDistance(t *testing.T) {
	const least = 20 * time.Millisecond
	changed := make(chan struct{})
	close(changed) // Something changes all the time.
	var last time.Time
	count := 0
	err := Run(t.Context(), Pace{Least: least}, changed, func() (bool, error) {
		if now := time.Now(); !last.IsZero() && now.Sub(last) < least {
			return true, fmt.Errorf("painted again after %s", now.Sub(last))
		}
		last = time.Now()
		count++
		return count == 3, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRunEndsWithTheContextOrAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := Run(ctx, Pace{}, nil, func() (bool, error) { cancel(); return false, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	broken := errors.New("broken")
	if err := Run(t.Context(), Pace{}, nil, func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of paint", err)
	}
}

func TestScreen(t *testing.T) {
	tests := []struct {
		rule   string
		height int
		lines  []string
		want   string
	}{
		{"lines go over the last ones, whose ends are erased", 10, []string{"a", "b"}, "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"},
		{"without a known height nothing is cut", 0, []string{"a", "b", "c"}, "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"},
		{"what fits, with the cursor below it, is shown", 4, []string{"a", "b", "c"}, "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"},
		{"what does not fit is counted", 4, []string{"a", "b", "c", "d", "e"}, "\x1b[Ha\x1b[K\nb\x1b[K\n... 3 more lines\x1b[K\n\x1b[J"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var out bytes.Buffer
			screen := &Screen{out: &out, height: func() int { return test.height }}
			if err := screen.Paint(test.lines); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}

func TestScreenGivesTheTerminalBack(t *testing.T) {
	var out bytes.Buffer
	screen, err := NewScreen(&out)
	if err != nil {
		t.Fatal(err)
	}
	if err := screen.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{hideCursor, showCursor}, {noWrap, wrap}} {
		if began, ended := strings.Index(out.String(), pair[0]), strings.LastIndex(out.String(), pair[1]); began < 0 || ended < began {
			t.Errorf("%q is not undone by %q in %q", pair[0], pair[1], out.String())
		}
	}
}

func TestABufferIsNoTerminal(t *testing.T) {
	if IsTerminal(&bytes.Buffer{}) {
		t.Error("a buffer has no screen")
	}
}
