// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// What the example contains.
const (
	namespace  = metav1.NamespaceDefault
	name       = "rollouts-demo"
	container  = "rollouts-demo"
	repository = "argoproj/rollouts-demo"
	selector   = "app=rollouts-demo"
	replicas   = 5
	steps      = 8
	// resource is written in full: other systems have rollouts as well.
	resource = "rollouts.sluice.dev"
)

// bounds are replicas + maxSurge and replicas - maxUnavailable of the example: 25 % of 5 are 2 pods rounded
// up, and 1 rounded down.
var bounds = cluster.Bounds{MaxPods: replicas + 2, MinAvailable: replicas - 1}

// guide plays the scenes on a control plane.
type guide struct {
	cluster  *cluster.Cluster
	screen   *screen
	observer *cluster.Observer
}

// play plays all scenes. The bounds are observed throughout, from the first time that all pods are there.
func (g *guide) play(ctx context.Context) (err error) {
	if err := g.clear(ctx); err != nil {
		return err
	}
	if g.observer, err = g.cluster.Observe(ctx, namespace, selector, cluster.Bounds{MaxPods: bounds.MaxPods}); err != nil {
		return err
	}
	manifest := filepath.Join(g.cluster.Repository(), "artifacts", "examples", "rollouts-demo.yaml")
	scenes := append(withPlugin(manifest), withStockKubectl()...)
	for i, s := range scenes {
		if err := g.playScene(ctx, s); err != nil {
			return errors.Join(fmt.Errorf("scene %q: %w", s.title, err), g.stopObserver())
		}
		if i == 0 {
			g.observer.SetBounds(bounds)
		}
		if _, err := g.observer.Tally(); err != nil {
			return fmt.Errorf("scene %q went out of bounds: %w", s.title, err)
		}
	}
	tally, err := g.observer.Stop()
	if err != nil {
		return err
	}
	g.screen.say("Every stage was as it should be. A watch saw %d states of pods and ReplicaSets: never more than %d pods (%d are allowed), never fewer than %d available (%d are needed).",
		tally.States, tally.MostPods, bounds.MaxPods, tally.FewestAvailable, bounds.MinAvailable)
	return nil
}

func (g *guide) stopObserver() error {
	_, err := g.observer.Stop()
	return err
}

// clear deletes what an earlier demonstration left behind, also where its Rollout was detached.
func (g *guide) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"delete", resource, name, "--ignore-not-found", "--cascade=foreground"},
		{"delete", "replicasets", "--selector=" + selector},
	} {
		output, err := g.cluster.Kubectl(ctx, "", args...)
		if err != nil {
			return err
		}
		if err := output.Err(); err != nil {
			return err
		}
	}
	_, err := cluster.Await(ctx, g.cluster.Pods(namespace, selector), func(pods []*corev1.Pod) string {
		if len(pods) == 0 {
			return ""
		}
		return fmt.Sprintf("%d pods of an earlier demonstration are still there", len(pods))
	})
	return err
}

func (g *guide) playScene(ctx context.Context, s scene) error {
	g.screen.title(s.title)
	began := time.Now()
	for _, l := range s.commands {
		if err := g.run(ctx, l); err != nil {
			return err
		}
	}
	for _, stage := range s.stages {
		rollout, err := g.cluster.AwaitStage(ctx, namespace, name, stage.Stage)
		if err != nil {
			return err
		}
		took := time.Since(began)
		if err := g.checkStanding(rollout, stage); err != nil {
			return err
		}
		if err := g.run(ctx, kubectl("sluice", "get", "rollout", name)); err != nil {
			return err
		}
		g.screen.passed(stage.says, took)
		began = time.Now()
	}
	return g.checkReplicaSets(ctx, s)
}

// run runs a command and shows it.
func (g *guide) run(ctx context.Context, l line) error {
	output, err := g.cluster.Kubectl(ctx, l.stdin, l.args...)
	if err != nil {
		return err
	}
	shown := output.Command()
	if l.stdin != "" {
		shown = "echo '" + l.stdin + "' | " + shown
	}
	g.screen.command(strings.ReplaceAll(shown, g.cluster.Repository()+"/", ""))
	if err := output.Err(); err != nil {
		return err
	}
	g.screen.output(output.Stderr)
	if len(l.args) > 1 && l.args[1] == "--raw" {
		return nil
	}
	g.screen.output(output.Stdout)
	return nil
}

// checkStanding checks what the status says besides the stage itself.
func (g *guide) checkStanding(r *v1alpha1.Rollout, s stage) error {
	stable := r.Status.StableRS == r.Status.CurrentPodHash
	switch s.Phase {
	case v1alpha1.RolloutPhaseHealthy:
		if !stable {
			return fmt.Errorf("it is Healthy, but the current revision %s is not the stable one, %s", r.Status.CurrentPodHash, r.Status.StableRS)
		}
	case v1alpha1.RolloutPhaseDegraded:
		if stable || !strings.Contains(r.Status.Message, "abort") {
			return fmt.Errorf("its message does not say that it was aborted: %q", r.Status.Message)
		}
	default:
		if stable {
			return fmt.Errorf("the current revision %s is the stable one in mid-update", r.Status.StableRS)
		}
	}
	return nil
}

// checkReplicaSets waits until there are as many ReplicaSets as there should be: those beyond the history
// limit are deleted once the Rollout is where it should be.
func (g *guide) checkReplicaSets(ctx context.Context, s scene) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := cluster.Await(ctx, g.cluster.ReplicaSets(namespace, selector), func(sets []*appsv1.ReplicaSet) string {
		if len(sets) == s.sets {
			return ""
		}
		return fmt.Sprintf("there are %d ReplicaSets instead of %d", len(sets), s.sets)
	})
	return err
}
