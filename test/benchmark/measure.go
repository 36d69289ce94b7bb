// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/load"
	"sluice.dev/sluice/test/benchmark/internal/plane"
	"sluice.dev/sluice/test/benchmark/internal/pods"
	"sluice.dev/sluice/test/contest"
)

const (
	deployment = "deployment"
	rollout    = "rollout"
	// orderAlternate lets the first run start with Deployments, the second with Rollouts, and so on: what
	// comes second finds larger caches and a fuller etcd.
	orderAlternate = "alternate"
)

// warmWorkloads is how many workloads of each kind are updated before anything is measured, so that
// neither pays for connections and caches that the other then finds.
const warmWorkloads = 10

// The parts of a run, in their order.
const (
	partUpdates    = "updates"
	partContention = "contention"
	partVerbs      = "verbs"
	partTrees      = "trees"
	partIdle       = "idle"
	partPods       = "pods"
)

var parts = []string{partUpdates, partContention, partVerbs, partTrees, partIdle, partPods}

// measured is what one run gives. What belongs to parts that were not measured is empty.
type measured struct {
	deployment, rollout load.Update
	latency             load.Latency
	contention          load.Contention
	verbs, patches      load.Calls
	trees               load.Trees
	idle                load.Idle
	pods                pods.Measured
}

// kinds is the order of the kinds in a run, counted from 0.
func kinds(order string, run int) ([]string, error) {
	switch {
	case order == deployment, order == orderAlternate && run%2 == 0:
		return []string{deployment, rollout}, nil
	case order == rollout, order == orderAlternate:
		return []string{rollout, deployment}, nil
	default:
		return nil, fmt.Errorf("--order=%s is not known; %s, %s and %s are", order, deployment, rollout, orderAlternate)
	}
}

// measure does all runs on one control plane.
func measure(ctx context.Context, o options, repository string) (runs []measured, err error) {
	p, err := controlPlane(ctx, o, repository)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	clients, err := load.NewClients(p.Config)
	if err != nil {
		return nil, err
	}
	b := bench{options: o, clients: clients, plane: p, plugin: load.Plugin{
		Path: filepath.Join(repository, "_local", "bin", "kubectl-sluice"), Kubeconfig: p.Kubeconfig}}
	if err := b.warmUp(ctx); err != nil {
		return nil, err
	}
	for i := range o.runs {
		run, err := b.run(ctx, i)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

func controlPlane(ctx context.Context, o options, repository string) (*plane.Plane, error) {
	if o.dir != "" {
		return plane.Open(repository, o.dir, os.Stderr)
	}
	return plane.Start(ctx, repository, os.Stderr)
}

// bench measures on one control plane.
type bench struct {
	options
	clients *load.Clients
	plane   *plane.Plane
	plugin  load.Plugin
}

func (b bench) kind(name string) load.Kind {
	if name == deployment {
		return b.clients.Deployments()
	}
	return b.clients.Rollouts(load.Weights(20, 40, 60, 80))
}

func (b bench) warmUp(ctx context.Context) error {
	progress("warming up")
	for _, name := range []string{deployment, rollout} {
		scenario := load.Scenario{Namespace: "benchmark-warm-up-" + name, Workloads: warmWorkloads, Replicas: b.replicas, Warm: true}
		if _, err := b.clients.Update(ctx, b.plane, b.kind(name), scenario); err != nil {
			return err
		}
	}
	return nil
}

// run measures one part after the other.
func (b bench) run(ctx context.Context, i int) (m measured, err error) {
	measures := map[string]func(ctx context.Context, i int, m *measured) error{
		partUpdates: b.updates, partContention: b.contend, partVerbs: b.callVerbs, partTrees: b.drawTrees,
		partIdle: b.rest, partPods: b.runPods,
	}
	for _, part := range parts {
		if !b.measures(part) {
			continue
		}
		if err := measures[part](ctx, i, &m); err != nil {
			return m, err
		}
	}
	return m, nil
}

// runPods measures on a node of its own, beside the control plane of the other parts, which is idle then.
func (b bench) runPods(ctx context.Context, i int, m *measured) (err error) {
	b.progress(i, "a real node, an installation, and an update under load")
	m.pods, err = pods.Measure(ctx, os.Stderr)
	return err
}

func (b bench) updates(ctx context.Context, i int, m *measured) error {
	order, err := kinds(b.order, i)
	if err != nil {
		return err
	}
	for _, name := range order {
		b.progress(i, "updating %d %ss of %d pods each", b.workloads, name, b.replicas)
		scenario := load.Scenario{Namespace: fmt.Sprintf("benchmark-%s-%d", name, i+1), Workloads: b.workloads, Replicas: b.replicas}
		if b.profile != "" && name == rollout {
			scenario.Profile = filepath.Join(b.profile, fmt.Sprintf("sluice-apiserver-%d.pprof", i+1))
		}
		update, err := b.clients.Update(ctx, b.plane, b.kind(name), scenario)
		if err != nil {
			return err
		}
		progress("    %.1f s, CPU %s", update.Duration.Seconds(), used(update.CPU))
		if name == deployment {
			m.deployment = update
		} else {
			m.rollout = update
		}
	}
	b.progress(i, "%d promotes", b.samples)
	latency, err := b.clients.Promotes(ctx, fmt.Sprintf("benchmark-promote-%d", i+1), b.samples)
	if err != nil {
		return err
	}
	m.latency = *latency
	return nil
}

func (b bench) contend(ctx context.Context, i int, m *measured) (err error) {
	b.progress(i, "%d rounds of %d promotes at once", b.rounds, contest.Callers)
	m.contention, err = b.clients.Contend(ctx, fmt.Sprintf("benchmark-contention-%d", i+1), b.rounds, b.seed+uint64(i))
	return err
}

func (b bench) callVerbs(ctx context.Context, i int, m *measured) error {
	order, err := kinds(b.order, i)
	if err != nil {
		return err
	}
	for _, name := range order {
		namespace, work := fmt.Sprintf("benchmark-verbs-%s-%d", name, i+1), load.Work{Calls: b.verbs, Callers: b.callers}
		if name == deployment {
			b.progress(i, "patching %d Deployments by %d clients", b.verbs, b.callers)
			m.patches, err = b.clients.Patches(ctx, b.plane, namespace, work)
		} else {
			b.progress(i, "calling verbs of %d Rollouts by %d clients", b.verbs, b.callers)
			if b.profile != "" {
				work.Profile = filepath.Join(b.profile, fmt.Sprintf("sluice-apiserver-verbs-%d.pprof", i+1))
			}
			m.verbs, err = b.clients.Verbs(ctx, b.plane, namespace, work)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b bench) drawTrees(ctx context.Context, i int, m *measured) (err error) {
	b.progress(i, "drawing %d trees among %d ReplicaSets", b.frames, b.replicaSets)
	m.trees, err = b.clients.Trees(ctx, b.plugin, fmt.Sprintf("benchmark-trees-%d", i+1), b.replicaSets, b.frames)
	return err
}

// rest has nothing done about many Rollouts.
func (b bench) rest(ctx context.Context, i int, m *measured) (err error) {
	b.progress(i, "%d Rollouts that nothing happens to for %v", b.rollouts, b.idle)
	m.idle, err = b.clients.Idle(ctx, b.plane, load.Rest{
		Prefix: fmt.Sprintf("benchmark-idle-%d", i+1), Rollouts: b.rollouts, Time: b.idle,
		// Nothing else is measured on this control plane after that, and it takes long.
		Leave: b.dir == "" && i == b.runs-1,
	})
	return err
}

// progress tells what is done in a run, counted from 0.
func (b bench) progress(run int, format string, args ...any) {
	progress("run %d of %d: %s", run+1, b.runs, fmt.Sprintf(format, args...))
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// used lists what each process has used.
func used(cpu plane.CPU) string {
	var parts []string
	for _, name := range names(cpu) {
		parts = append(parts, fmt.Sprintf("%s %.1f s", name, cpu[name].Seconds()))
	}
	return strings.Join(parts, ", ")
}
