// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	sluiceclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

const (
	// limit is how long a test may take.
	limit = 3 * time.Minute
	// resource is the resource in full: other systems have rollouts as well.
	resource = "rollouts.sluice.dev"
	// poll is how often something is asked that cannot be watched.
	poll = 200 * time.Millisecond
)

// calm is held by every test that needs all components to run. Tests enter it before any of them runs in
// parallel, so that whoever waits for it comes after all of them.
var calm sync.WaitGroup

// scenario is a test with a namespace of its own on a control plane.
type scenario struct {
	*testing.T
	*cluster.Cluster
	namespace string
}

// together begins a test that runs at the same time as others.
func together(t *testing.T) *scenario {
	t.Helper()
	calm.Add(1)
	t.Cleanup(calm.Done)
	t.Parallel()
	return newScenario(t, local)
}

// newScenario makes the namespace. It is deleted at the end, unless the test failed.
func newScenario(t *testing.T, c *cluster.Cluster) *scenario {
	t.Helper()
	s := &scenario{T: t, Cluster: c}
	created, err := c.Host.CoreV1().Namespaces().Create(s.ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
	s.must(err)
	s.namespace = created.Name
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("left as it is: namespace %s", s.namespace)
			return
		}
		if err := c.Host.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), s.namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return s
}

// ctx is the context of one wait or request.
func (s *scenario) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	s.Cleanup(cancel)
	return ctx
}

// must ends the test if there is an error.
func (s *scenario) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// rollouts is the client of the test's own Rollouts.
func (s *scenario) rollouts() sluiceclient.RolloutInterface {
	return s.Sluice.SluiceV1alpha1().Rollouts(s.namespace)
}

// create stores a Rollout.
func (s *scenario) create(r *v1alpha1.Rollout) *v1alpha1.Rollout {
	s.Helper()
	created, err := s.rollouts().Create(s.ctx(), r, metav1.CreateOptions{})
	s.must(err)
	return created
}

// deploy stores a Rollout and waits until it is Healthy.
func (s *scenario) deploy(r *v1alpha1.Rollout) *v1alpha1.Rollout {
	s.Helper()
	s.create(r)
	return s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
}

// get is the Rollout as it is stored.
func (s *scenario) get(name string) *v1alpha1.Rollout {
	s.Helper()
	r, err := s.rollouts().Get(s.ctx(), name, metav1.GetOptions{})
	s.must(err)
	return r
}

// change changes the Rollout, whatever else is written to it at the same time.
func (s *scenario) change(name string, edit func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	s.Helper()
	var changed *v1alpha1.Rollout
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		r, err := s.rollouts().Get(s.ctx(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		edit(r)
		changed, err = s.rollouts().Update(s.ctx(), r, metav1.UpdateOptions{})
		return err
	}))
	return changed
}

// setTag changes the image, which starts a new revision.
func (s *scenario) setTag(name, tag string) *v1alpha1.Rollout {
	s.Helper()
	return s.change(name, func(r *v1alpha1.Rollout) { r.Spec.Template.Spec.Containers[0].Image = image(tag) })
}

// patch patches a Rollout, or one of its subresources.
func (s *scenario) patch(name, patch string, subresources ...string) (*v1alpha1.Rollout, error) {
	return s.patchContext(s.ctx(), name, patch, subresources...)
}

func (s *scenario) patchContext(ctx context.Context, name, patch string, subresources ...string) (*v1alpha1.Rollout, error) {
	return s.rollouts().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
}

// await waits until nothing is lacking of the Rollout any more.
func (s *scenario) await(name string, lacking func(*v1alpha1.Rollout) string) *v1alpha1.Rollout {
	s.Helper()
	found, err := cluster.Await(s.ctx(), s.Rollout(s.namespace, name), func(found []*v1alpha1.Rollout) string {
		if len(found) == 0 {
			return "it does not exist"
		}
		return lacking(found[0])
	})
	s.must(err)
	return found[0]
}

// awaitPhase waits until the phase, of the present spec, is this one.
func (s *scenario) awaitPhase(name string, phase v1alpha1.RolloutPhase) *v1alpha1.Rollout {
	s.Helper()
	return s.await(name, func(r *v1alpha1.Rollout) string {
		if r.Status.Phase == phase && r.Status.ObservedGeneration == r.Generation {
			return ""
		}
		return fmt.Sprintf("wanted is %s, it is %s: %s", phase, r.Status.Phase, r.Status.Message)
	})
}

// stage waits for a stage.
func (s *scenario) stage(name string, want cluster.Stage) *v1alpha1.Rollout {
	s.Helper()
	r, err := s.AwaitStage(s.ctx(), s.namespace, name, want)
	s.must(err)
	return r
}

// observe holds all pods of the Rollout against the bounds until the end of the test.
func (s *scenario) observe(r *v1alpha1.Rollout, bounds cluster.Bounds) *cluster.Observer {
	s.Helper()
	observer, err := s.Observe(s.Context(), s.namespace, r.Status.Selector, bounds)
	s.must(err)
	s.Cleanup(func() {
		tally, err := observer.Stop()
		if err != nil {
			s.Error(err)
		}
		s.Logf("%s: %d states, %d pods at most, %d available at least", r.Name, tally.States, tally.MostPods, tally.FewestAvailable)
	})
	return observer
}

// kubectl runs kubectl in the namespace of the test, and returns what it prints.
func (s *scenario) kubectl(args ...string) string {
	s.Helper()
	output := s.run("", args...)
	s.must(output.Err())
	return output.Stdout
}

// run runs kubectl in the namespace of the test.
func (s *scenario) run(stdin string, args ...string) cluster.Output {
	s.Helper()
	output, err := s.Kubectl(s.ctx(), stdin, append(args, "--namespace="+s.namespace)...)
	s.must(err)
	return output
}

// contains fails the test unless the text contains every one of the words.
func (s *scenario) contains(text string, words ...string) {
	s.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			s.Errorf("%q is missing in:\n%s", word, text)
		}
	}
}

// refused fails the test unless the error is an answer with the code that contains every one of the words.
func (s *scenario) refused(err error, code int32, words ...string) *metav1.Status {
	s.Helper()
	status := statusOf(err)
	if status == nil || status.Code != code {
		s.Errorf("wanted is an answer with code %d, not: %v (%+v)", code, err, status)
		return &metav1.Status{Details: &metav1.StatusDetails{}}
	}
	if status.Details == nil {
		status.Details = &metav1.StatusDetails{}
	}
	s.contains(status.Message, words...)
	return status
}

// sets are the ReplicaSets of the Rollout.
func (s *scenario) sets(r *v1alpha1.Rollout) []*appsv1.ReplicaSet {
	s.Helper()
	found, err := s.ReplicaSets(s.namespace, r.Status.Selector).Now(s.ctx())
	s.must(err)
	return found
}

// pods fails the test unless the Rollout has these available pods, and no others, now.
func (s *scenario) pods(r *v1alpha1.Rollout, want map[string]int) {
	s.Helper()
	found, err := s.Pods(s.namespace, r.Status.Selector).Now(s.ctx())
	s.must(err)
	if got := cluster.PodsByTag(found); !maps.Equal(got, want) {
		s.Errorf("the pods of %s are %v instead of %v", r.Name, got, want)
	}
}

// awaitPods waits until the Rollout has these available pods, and no others.
func (s *scenario) awaitPods(r *v1alpha1.Rollout, want map[string]int) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.Pods(s.namespace, r.Status.Selector), func(pods []*corev1.Pod) string {
		got := cluster.PodsByTag(pods)
		return unless(maps.Equal(got, want), fmt.Sprintf("%v; there are %v", want, got))
	})
	s.must(err)
}

// eventually waits for what cannot be watched.
func (s *scenario) eventually(what string, is func(context.Context) bool) {
	s.Helper()
	err := wait.PollUntilContextCancel(s.ctx(), poll, true, func(ctx context.Context) (bool, error) { return is(ctx), nil })
	if err != nil {
		s.Fatalf("waited in vain for %s: %v", what, err)
	}
}
