// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice.dev/sluice/test/benchmark/internal/figures"
	"sluice.dev/sluice/test/benchmark/internal/load"
	"sluice.dev/sluice/test/benchmark/internal/plane"
)

const mebibyte = 1 << 20

func (r results) idleRollouts() section {
	alone := func(measure string, decimals int, goal float64, figure func(load.Idle) float64) figures.Row {
		return figures.Alone(measure, r.median(func(m measured) float64 { return figure(m.idle) }), decimals, goal)
	}
	never := func(measure string, figure func(load.Idle) float64) figures.Row {
		var sum float64
		for _, run := range r.runs {
			sum += figure(run.idle)
		}
		row := figures.Never(measure, 0, sum)
		row.Peer = "-"
		return row
	}
	listed := func(measure string, decimals int, goal float64, of func(load.Lists) float64) figures.Row {
		return figures.Within(measure, r.median(func(m measured) float64 { return of(m.idle.Deployments) }), r.median(func(m measured) float64 { return of(m.idle.Rollouts) }), decimals, goal)
	}
	p50 := func(times func(load.Lists) []time.Duration) func(load.Lists) float64 {
		return func(l load.Lists) float64 { return figures.Percentile(times(l), 50).Seconds() }
	}
	worst := func(times func(load.Lists) []time.Duration) func(load.Lists) float64 {
		return func(l load.Lists) float64 { return slices.Max(times(l)).Seconds() }
	}
	protobuf := func(l load.Lists) []time.Duration { return l.Protobuf }
	table := func(l load.Lists) []time.Duration { return l.Table }
	ours := func(i load.Idle) plane.Memory { return i.Memory[plane.SluiceAPIServer] }
	details := []figures.Row{
		alone("Rollouts created, until the last was Healthy (s)", 0, 0, func(i load.Idle) float64 { return i.Created.Seconds() }),
		alone("memory at most, creation and lists included (MiB)", 0, 0, func(i load.Idle) float64 { return float64(ours(i).Most) / mebibyte }),
		figures.Compared("memory of kube-apiserver and of ours after that time (MiB)",
			r.median(func(m measured) float64 { return float64(m.idle.Memory[plane.KubeAPIServer].Now) / mebibyte }),
			r.median(func(m measured) float64 { return float64(ours(m.idle).Now) / mebibyte }), 0, 0),
		listed("size of the list in protobuf (MiB)", 1, 0, func(l load.Lists) float64 { return float64(l.Size) / mebibyte }),
		listed("list of all as protobuf, worst (s)", 2, 0, worst(protobuf)),
		listed("list of all as a table, worst (s)", 2, 0, worst(table)),
		alone("revisions of the store, the record of its compactions included", 0, 0, func(i load.Idle) float64 { return i.Store }),
	}
	for _, name := range slices.Sorted(maps.Keys(r.runs[0].idle.Share)) {
		details = append(details, alone("share of a processor of "+name+" (%)", 2, 0, func(i load.Idle) float64 { return i.Share[name] }))
	}
	return section{
		title: "Many idle Rollouts",
		text: `Rollouts of four steps and no pods, each with its ReplicaSet, on one server with its etcd inside; beside them as many
Deployments, paused and without ReplicaSets, in kube-apiserver. After all was created and told, and the store has been
compacted twice, so that nothing is left of that to be done, nothing is done for the time below. A list is of all namespaces
at once, as of now, through kube-apiserver, from the request to the last byte, the median of five. Then the server is ended
and started again on the same store; the time is that of its process until it is ready. At last
a second server leads, and is killed: the time is until the first has acted on a Rollout that was created after that.`,
		measured: fmt.Sprintf("%d Rollouts and %d Deployments, %v", r.rollouts, r.rollouts, r.idle),
		tables: []figures.Table{{Peer: "Deployment", Rows: []figures.Row{
			alone("memory of the server after that time (MiB)", 0, goalMemory, func(i load.Idle) float64 { return float64(ours(i).Now) / mebibyte }),
			never("writes of Rollouts in that time, in all runs", func(i load.Idle) float64 { return i.Writes }),
			never("writes of ReplicaSets, events, ConfigMaps to the host, in all runs", func(i load.Idle) float64 { return i.Host }),
			alone("share of a processor in that time (%)", 2, goalShare, func(i load.Idle) float64 { return i.Share[plane.SluiceAPIServer] }),
			alone("start to ready (s)", 1, goalStart, func(i load.Idle) float64 { return i.Start.Seconds() }),
			listed("list of all as protobuf (s)", 2, goalProtobuf, p50(protobuf)),
			listed("list of all as a table (s)", 2, goalTable, p50(table)),
			alone("leader fail-over (s)", 1, goalFailOver, func(i load.Idle) float64 { return i.FailOver.Seconds() }),
		}}, {Peer: "Deployment", Rows: details}},
	}
}
