// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	sluiceclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/test/benchmark/internal/plane"
)

// act is a verb, and the patch of a Deployment that comes next to it.
type act struct {
	verb  string
	call  func(ctx context.Context, rollouts sluiceclient.RolloutInterface, name string) error
	patch string
}

const (
	pausePatch = `{"spec":{"paused":true}}`
	// restartPatch is that of kubectl rollout restart.
	restartPatch = `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-01-01T00:00:00Z"}}}}}`
)

// acts are done in turn: workload 0 is promoted, 1 paused, and so on. Where the verb replaces a pod, so does the patch.
var acts = []act{
	{"promote", func(ctx context.Context, rollouts sluiceclient.RolloutInterface, name string) error {
		_, err := rollouts.Promote(ctx, name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
		return err
	}, pausePatch},
	{"pause", func(ctx context.Context, rollouts sluiceclient.RolloutInterface, name string) error {
		_, err := rollouts.Pause(ctx, name, &v1alpha1.Pause{}, metav1.CreateOptions{})
		return err
	}, pausePatch},
	{"restart", func(ctx context.Context, rollouts sluiceclient.RolloutInterface, name string) error {
		_, err := rollouts.Restart(ctx, name, &v1alpha1.Restart{}, metav1.CreateOptions{})
		return err
	}, restartPatch},
	{"abort", func(ctx context.Context, rollouts sluiceclient.RolloutInterface, name string) error {
		_, err := rollouts.Abort(ctx, name, &v1alpha1.Abort{}, metav1.CreateOptions{})
		return err
	}, pausePatch},
}

// ByVerb sorts the times by what was asked for.
func (c Calls) ByVerb() map[string][]time.Duration {
	sorted := map[string][]time.Duration{}
	for i, took := range c.Each {
		verb := acts[i%len(acts)].verb
		sorted[verb] = append(sorted[verb], took)
	}
	return sorted
}

// pauses are steps that do nothing but wait.
var pauses = []v1alpha1.CanaryStep{{Pause: &v1alpha1.RolloutPause{}}, {Pause: &v1alpha1.RolloutPause{}}, {Pause: &v1alpha1.RolloutPause{}}}

// Work is how many calls are made, by how many clients at the same time.
type Work struct {
	Calls, Callers int
	// Profile is the file that a CPU profile of Sluice during the calls goes to; empty for none.
	Profile string
}

// Verbs calls a verb on each of many Rollouts that wait in the middle of an update: to promote, to pause, to restart
// and to abort in turn. The controller acts on each of them meanwhile.
func (c *Clients) Verbs(ctx context.Context, p *plane.Plane, namespace string, w Work) (calls Calls, err error) {
	kind := c.Rollouts(pauses)
	err = c.withWorkloads(ctx, kind, namespace, w.Calls, func(s Scenario, t *tracker) error {
		const image = "benchmark:1"
		err := s.forEach(ctx, func(ctx context.Context, name string) error {
			return kind.patch(ctx, namespace, name, imagePatch(image))
		})
		if err != nil {
			return err
		}
		if _, err := t.waitAll(ctx, w.Calls, pausedAt(image, 0)); err != nil {
			return err
		}
		calls, err = c.callEach(ctx, p, kind, w, func(ctx context.Context, client *Clients, i int) error {
			return acts[i%len(acts)].call(ctx, client.rollouts.SluiceV1alpha1().Rollouts(namespace), s.name(i))
		})
		return err
	})
	return calls, err
}

// Patches patches the spec of each of many Deployments: the nearest that they have to a verb.
func (c *Clients) Patches(ctx context.Context, p *plane.Plane, namespace string, w Work) (calls Calls, err error) {
	kind := c.Deployments()
	err = c.withWorkloads(ctx, kind, namespace, w.Calls, func(s Scenario, _ *tracker) error {
		calls, err = c.callEach(ctx, p, kind, w, func(ctx context.Context, client *Clients, i int) error {
			return client.Deployments().patch(ctx, namespace, s.name(i), []byte(acts[i%len(acts)].patch))
		})
		return err
	})
	return calls, err
}

// withWorkloads runs the function with as many workloads of one pod, that stand still.
func (c *Clients) withWorkloads(ctx context.Context, kind Kind, namespace string, count int, act func(Scenario, *tracker) error) error {
	err := c.withNamespace(ctx, namespace, func(namespace string) error {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		s := Scenario{Namespace: namespace, Workloads: count, Replicas: 1}
		tracker, err := s.create(ctx, watching, kind)
		if err != nil {
			return err
		}
		return act(s, tracker)
	})
	if err != nil {
		return fmt.Errorf("calling verbs of %s: %w", kind.Resource, err)
	}
	return nil
}

func (c *Clients) callEach(ctx context.Context, p *plane.Plane, kind Kind, w Work, act func(ctx context.Context, client *Clients, i int) error) (Calls, error) {
	callers, err := c.newCallers(w.Callers)
	if err != nil {
		return Calls{}, err
	}
	if err := pause(ctx, settle); err != nil {
		return Calls{}, err
	}
	countedBefore, err := read(ctx, p)
	if err != nil {
		return Calls{}, err
	}
	before, err := p.CPU()
	if err != nil {
		return Calls{}, err
	}
	var calls Calls
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		calls, err = callers.call(inner, w.Calls, act)
		return err
	})
	if w.Profile != "" {
		group.Go(func() error { return p.Profile(inner, profileLength, w.Profile) })
	}
	if err := group.Wait(); err != nil {
		return Calls{}, err
	}
	// What the controllers make of the calls belongs to them.
	if err := pause(ctx, settle); err != nil {
		return Calls{}, err
	}
	after, err := p.CPU()
	if err != nil {
		return Calls{}, err
	}
	countedAfter, err := read(ctx, p)
	calls.CPU, calls.Counts = after.Since(before), counts(kind, countedBefore, countedAfter)
	return calls, err
}
