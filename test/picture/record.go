// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

const (
	namespace = metav1.NamespaceDefault
	// name is that of the Rollout of the guide, and of its Service.
	name = "rollouts-demo"
	// rate is that of the load. Unit: requests a second.
	rate = 300
	// limit is how long one wait may take.
	limit = 2 * time.Minute
	// shown is how long each standing is looked at.
	shown = 3 * time.Second
)

// record plays the guide, and returns what happened.
func record(ctx context.Context, dir string) (_ *recording, err error) {
	c, stop, err := plane(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	p := &player{Cluster: c}
	defer func() {
		err = errors.Join(err, p.kubectl(context.WithoutCancel(ctx), "delete", "-f", p.manifest(), "--ignore-not-found"))
	}()
	p.Began = time.Now()
	traffic, err := p.deploy(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.play(ctx); err != nil {
		return nil, err
	}
	reports, err := traffic.Stop()
	p.Reports = reports
	return &p.recording, err
}

// deploy is the first scene: there is nobody to answer until the first pod is ready, so that the load begins then.
func (p *player) deploy(ctx context.Context) (*cluster.Traffic, error) {
	p.note("apply", true)
	if err := p.kubectl(ctx, "apply", "-f", p.manifest()); err != nil {
		return nil, err
	}
	service, err := p.Host.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	url := "http://" + service.Spec.ClusterIP + "/"
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := p.Inside(waiting, p.Binary("static/traffic"), "--url="+url, "--await").Run(); err != nil {
		return nil, err
	}
	traffic, err := cluster.Load{URL: url, Rate: rate}.Start(ctx, p.Cluster)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, v1alpha1.RolloutPhaseHealthy, 8); err != nil {
		return nil, err
	}
	p.note("Healthy", false)
	return traffic, nil
}

// plane is the control plane to play on, and what to do with it afterwards.
func plane(ctx context.Context, dir string) (_ *cluster.Cluster, stop func() error, err error) {
	options := cluster.Options{Dir: dir, Real: true, Progress: os.Stderr}
	if dir != "" {
		c, err := cluster.Attach(ctx, options)
		if err == nil && c == nil {
			err = fmt.Errorf("no control plane is up in %s", dir)
		}
		return c, func() error { return nil }, err
	}
	if options.Dir, err = os.MkdirTemp("", "sluice-picture-"); err != nil {
		return nil, nil, err
	}
	c, err := cluster.Up(ctx, options)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(options.Dir))
	}
	return c, func() error { return errors.Join(c.Down(context.WithoutCancel(ctx)), os.RemoveAll(options.Dir)) }, nil
}

// player plays the guide.
type player struct {
	*cluster.Cluster
	recording
}

// scene is what a person does, and where that leads.
type scene struct {
	does  []string
	says  string
	stage []stage
}

type stage struct {
	phase v1alpha1.RolloutPhase
	step  int32
	says  string
}

func setImage(colour string) []string {
	return []string{"sluice", "set", "image", name, name + "=argoproj/rollouts-demo:" + colour}
}

// manifest is the example that the guide deploys.
func (p *player) manifest() string {
	return filepath.Join(p.Repository(), "artifacts", "examples", "rollouts-demo.yaml")
}

// scenes are those of docs/getting-started.md, after the first one.
var scenes = []scene{
	{setImage("yellow"), "set image yellow", []stage{{v1alpha1.RolloutPhasePaused, 1, "paused at 20 %"}}},
	{[]string{"sluice", "promote", name}, "promote", []stage{
		{v1alpha1.RolloutPhasePaused, 3, "40 %"}, {v1alpha1.RolloutPhasePaused, 5, "60 %"}, {v1alpha1.RolloutPhasePaused, 7, "80 %"}, {v1alpha1.RolloutPhaseHealthy, 8, "Healthy"}}},
	{setImage("red"), "set image red", []stage{{v1alpha1.RolloutPhasePaused, 1, "paused at 20 %"}}},
	{[]string{"sluice", "abort", name}, "abort", []stage{{v1alpha1.RolloutPhaseDegraded, 0, "back"}}},
	{setImage("yellow"), "set image yellow", []stage{{v1alpha1.RolloutPhaseHealthy, 8, "Healthy"}}},
	{setImage("red"), "set image red", []stage{{v1alpha1.RolloutPhasePaused, 1, "paused at 20 %"}}},
	{[]string{"sluice", "promote", name, "--full"}, "promote --full", []stage{{v1alpha1.RolloutPhaseHealthy, 8, "Healthy"}}},
}

func (p *player) play(ctx context.Context) error {
	look(ctx)
	for _, s := range scenes {
		p.note(s.says, true)
		if err := p.kubectl(ctx, s.does...); err != nil {
			return err
		}
		for _, to := range s.stage {
			if err := p.await(ctx, to.phase, to.step); err != nil {
				return err
			}
			p.note(to.says, false)
		}
		look(ctx)
	}
	return ctx.Err()
}

// look lets the present standing be seen in the picture.
func look(ctx context.Context) {
	select {
	case <-time.After(shown):
	case <-ctx.Done():
	}
}

func (p *player) note(says string, person bool) {
	p.Marks = append(p.Marks, mark{Time: time.Now(), Says: says, Person: person})
}

func (p *player) kubectl(ctx context.Context, args ...string) error {
	output, err := p.Kubectl(ctx, "", append(args, "--namespace="+namespace)...)
	return errors.Join(err, output.Err())
}

// await waits until the Rollout is there.
func (p *player) await(ctx context.Context, phase v1alpha1.RolloutPhase, step int32) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := cluster.Await(ctx, p.Rollout(namespace, name), func(found []*v1alpha1.Rollout) string {
		if len(found) == 0 {
			return "it does not exist"
		}
		r := found[0]
		if at := ptr.Deref(r.Status.CurrentStepIndex, -1); r.Status.Phase != phase || at != step || r.Status.ObservedGeneration != r.Generation {
			return fmt.Sprintf("wanted is %s at step %d; it is %s at step %d: %s", phase, step, r.Status.Phase, at, r.Status.Message)
		}
		return ""
	})
	return err
}
