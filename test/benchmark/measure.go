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

// measured is what one run gives.
type measured struct {
	deployment, rollout load.Update
	latency             load.Latency
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
	b := bench{options: o, clients: clients, plane: p}
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
		return plane.Open(o.dir)
	}
	return plane.Start(ctx, repository, os.Stderr)
}

// bench measures on one control plane.
type bench struct {
	options
	clients *load.Clients
	plane   *plane.Plane
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

func (b bench) run(ctx context.Context, i int) (measured, error) {
	var m measured
	order, err := kinds(b.order, i)
	if err != nil {
		return m, err
	}
	for _, name := range order {
		progress("run %d of %d: updating %d %ss of %d pods each", i+1, b.runs, b.workloads, name, b.replicas)
		scenario := load.Scenario{Namespace: fmt.Sprintf("benchmark-%s-%d", name, i+1), Workloads: b.workloads, Replicas: b.replicas}
		if b.profile != "" && name == rollout {
			scenario.Profile = filepath.Join(b.profile, fmt.Sprintf("sluice-apiserver-%d.pprof", i+1))
		}
		update, err := b.clients.Update(ctx, b.plane, b.kind(name), scenario)
		if err != nil {
			return m, err
		}
		progress("    %.1f s, CPU %s", update.Duration.Seconds(), used(update.CPU))
		if name == deployment {
			m.deployment = update
		} else {
			m.rollout = update
		}
	}
	progress("run %d of %d: %d promotes", i+1, b.runs, b.samples)
	latency, err := b.clients.Promotes(ctx, fmt.Sprintf("benchmark-promote-%d", i+1), b.samples)
	if err != nil {
		return m, err
	}
	m.latency = *latency
	return m, nil
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
