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
	"sluice.dev/sluice/test/benchmark/internal/pods"
	"sluice.dev/sluice/test/contest"
)

// section is the results of one part.
type section struct {
	// title and text tell what the part is about, measured how much was measured.
	title, text, measured string
	// tables are the results, and then what explains them.
	tables []figures.Table
}

// sections are those of the parts that were measured.
func (r results) sections() []section {
	all := map[string]func() section{
		partUpdates: r.updates, partContention: r.contention, partVerbs: r.verbCalls, partTrees: r.trees,
		partPods: r.realPods,
	}
	var measured []section
	for _, part := range parts {
		if r.measures(part) {
			measured = append(measured, all[part]())
		}
	}
	return measured
}

func (r results) updates() section {
	return section{
		title: "One update of many workloads",
		text: `The same work as Deployments and as Rollouts: many workloads are updated once, all at the same time. The Rollouts take
the steps 20, 40, 60 and 80 without a pause. Both have the same pods, requests, nodes and bounds (25% surge, 25%
unavailable). A promote is timed from sending it through the aggregator, until the reply is there and until a watch
shows the new size.`,
		measured: fmt.Sprintf("%d workloads of %d pods each, %d promotes", r.workloads, r.replicas, len(r.runs[0].latency.Reply)),
		tables:   []figures.Table{{Peer: "Deployment", Rows: r.updateRows()}, {Peer: "Deployment", Rows: r.updateDetails()}},
	}
}

func (r results) contention() section {
	winner := func(m measured) []time.Duration { return m.contention.Winner }
	all := func(m measured) []time.Duration { return m.contention.All }
	return section{
		title: "Many promotes of one step at once",
		text: `In each round many callers promote one Rollout at the same moment, all expecting the same step. Exactly one succeeds, all
others are refused with 409 and its cause, and the Rollout moves by one step: a round in which it is otherwise ends the
benchmark. The Rollout waits in a pause, in a timed one, or for pods that cannot start, at a random step of a random
number.`,
		measured: fmt.Sprintf("%d rounds of %d promotes, seed %d", r.rounds, contest.Callers, r.seed),
		tables: []figures.Table{{Peer: "-", Rows: []figures.Row{
			figures.Alone("rounds in which exactly one succeeded", r.median(func(m measured) float64 { return float64(len(m.contention.Winner)) }), 0, 0),
			figures.Alone("rounds per second", r.median(func(m measured) float64 { return m.contention.PerSecond() }), 1, 0),
			figures.Alone("reply to the one that succeeded, p50 (ms)", r.percentile(winner, 50), 1, 0),
			figures.Alone("reply to the one that succeeded, p99 (ms)", r.percentile(winner, 99), 1, 0),
			figures.Alone("everybody answered, p50 (ms)", r.percentile(all, 50), 1, 0),
			figures.Alone("everybody answered, p99 (ms)", r.percentile(all, 99), 1, 0),
		}}},
	}
}

func (r results) verbCalls() section {
	compared := func(measure string, figure func(load.Calls) float64) figures.Row {
		return figures.Compared(measure, r.median(func(m measured) float64 { return figure(m.patches) }), r.median(func(m measured) float64 { return figure(m.verbs) }), 1, 0)
	}
	percentile := func(measure string, percent float64) figures.Row {
		return figures.Compared(measure, r.percentile(func(m measured) []time.Duration { return m.patches.Each }, percent),
			r.percentile(func(m measured) []time.Duration { return m.verbs.Each }, percent), 1, 0)
	}
	var details []figures.Row
	for _, verb := range slices.Sorted(maps.Keys(r.runs[0].verbs.ByVerb())) {
		details = append(details, figures.Compared("reply to "+verb+", p50 (ms)", r.percentile(func(m measured) []time.Duration { return m.patches.ByVerb()[verb] }, 50),
			r.percentile(func(m measured) []time.Duration { return m.verbs.ByVerb()[verb] }, 50), 1, 0))
	}
	for _, name := range names(r.runs[0].verbs.CPU) {
		perCall := func(c load.Calls) float64 {
			return float64(c.CPU[name]) / float64(time.Millisecond) / float64(len(c.Each))
		}
		details = append(details, figures.Compared("CPU of "+name+" per call (ms)", r.median(func(m measured) float64 { return perCall(m.patches) }), r.median(func(m measured) float64 { return perCall(m.verbs) }), 1, 0))
	}
	for _, count := range []struct {
		what   string
		number func(load.Counts) float64
	}{
		{"workloads", func(c load.Counts) float64 { return c.Workloads }},
		{"ReplicaSets", func(c load.Counts) float64 { return c.ReplicaSets }},
		{"events", func(c load.Counts) float64 { return c.Events }},
		{"pods", func(c load.Counts) float64 { return c.Pods }},
	} {
		perCall := func(c load.Calls) float64 { return count.number(c.Counts) / float64(len(c.Each)) }
		details = append(details, figures.Compared("writes of "+count.what+" per call, by all", r.median(func(m measured) float64 { return perCall(m.patches) }), r.median(func(m measured) float64 { return perCall(m.verbs) }), 1, 0))
	}
	failures := func(calls func(measured) load.Calls) float64 {
		var sum float64
		for _, run := range r.runs {
			sum += float64(calls(run).Failures)
		}
		return sum
	}
	return section{
		title: "Many verbs on many Rollouts",
		text: `Each Rollout, of one pod, waits in the middle of an update and gets one verb: promote, pause, restart and abort in turn.
The peer is a patch of a Deployment of one pod: one that restarts it for a restart, one that pauses it for the other
verbs. Every client has a connection of its own to kube-apiserver; in
the meantime the controllers act on what was asked. Sluice is one server with its etcd inside.`,
		measured: fmt.Sprintf("%d calls by %d clients at the same time", r.options.verbs, r.callers),
		tables: []figures.Table{{Peer: "Deployment", Rows: []figures.Row{
			compared("calls per second, more is better", load.Calls.PerSecond),
			percentile("reply, p50 (ms)", 50),
			percentile("reply, p99 (ms)", 99),
			figures.Never("answers with 5xx, in all runs", failures(func(m measured) load.Calls { return m.patches }), failures(func(m measured) load.Calls { return m.verbs })),
		}}, {Peer: "Deployment", Rows: details}},
	}
}

func (r results) trees() section {
	frame := func(m measured) []time.Duration { return m.trees.Frame }
	read := func(m measured) []time.Duration { return m.trees.Read }
	listed := func(m measured) []time.Duration { return m.trees.Listed }
	return section{
		title: "One tree in a large cluster",
		text: `The cluster is full of ReplicaSets without pods in ten namespaces, one in ten of them a Rollout's, the rest
nobody's. The first frame is timed from the start of the program kubectl-sluice get rollout NAME --watch until a whole
tree was read from it. The peer reads the Rollout and lists the ReplicaSets and pods of its namespace, as clients do that
draw the tree themselves; all three at the same time, in protobuf, and from the caches of the servers.`,
		measured: fmt.Sprintf("%d ReplicaSets, %d trees", r.replicaSets, r.frames),
		tables: []figures.Table{{Peer: "Listing", Rows: []figures.Row{
			figures.Alone("first frame of the plugin, p50 (ms)", r.percentile(frame, 50), 1, goalFirstFrame),
			figures.Alone("first frame of the plugin, p99 (ms)", r.percentile(frame, 99), 1, goalFirstFrame),
			figures.Compared("requests for one tree, p50 (ms)", r.percentile(listed, 50), r.percentile(read, 50), 1, 0),
			figures.Compared("requests for one tree, p99 (ms)", r.percentile(listed, 99), r.percentile(read, 99), 1, 0),
		}}},
	}
}

// both are the medians of a figure of both kinds.
func (r results) both(figure func(load.Update) float64) (deployment, sluice float64) {
	return r.median(func(m measured) float64 { return figure(m.deployment) }),
		r.median(func(m measured) float64 { return figure(m.rollout) })
}

// perWorkload is the median of a number of requests of Sluice for one workload.
func (r results) perWorkload(number func(load.Counts) float64) float64 {
	return r.median(func(m measured) float64 { return number(m.rollout.Counts) }) / float64(r.workloads)
}

// updateRows are the measures that have goals.
func (r results) updateRows() []figures.Row {
	compared := func(measure string, decimals int, goal float64, figure func(load.Update) float64) figures.Row {
		deployment, sluice := r.both(figure)
		return figures.Compared(measure, deployment, sluice, decimals, goal)
	}
	reply := func(m measured) []time.Duration { return m.latency.Reply }
	scaled := func(m measured) []time.Duration { return m.latency.Scaled }
	return []figures.Row{
		compared("update, all complete (s)", 1, goalTime, func(u load.Update) float64 { return u.Duration.Seconds() }),
		compared("CPU of all processes (s)", 1, goalCPU, func(u load.Update) float64 { return u.CPU.Total().Seconds() }),
		figures.Alone("writes to the host per workload", r.perWorkload(load.Counts.Host), 1, goalHostWrites),
		figures.Alone("status writes to the own store per workload", r.perWorkload(func(c load.Counts) float64 { return c.Status }), 1, goalStatusWrites),
		figures.Alone("promote, reply shows the next step, p50 (ms)", r.percentile(reply, 50), 1, goalPromoteP50),
		figures.Alone("promote, reply shows the next step, p99 (ms)", r.percentile(reply, 99), 1, goalPromoteP99),
		figures.Alone("promote, ReplicaSet scaled, p50 (ms)", r.percentile(scaled, 50), 1, goalPromoteP50),
		figures.Alone("promote, ReplicaSet scaled, p99 (ms)", r.percentile(scaled, 99), 1, goalPromoteP99),
	}
}

// updateDetails are measures without goals that explain those with.
func (r results) updateDetails() []figures.Row {
	var rows []figures.Row
	compared := func(measure string, decimals int, figure func(load.Update) float64) {
		deployment, sluice := r.both(figure)
		rows = append(rows, figures.Compared(measure, deployment, sluice, decimals, 0))
	}
	alone := func(measure string, number func(load.Counts) float64) {
		rows = append(rows, figures.Alone(measure, r.perWorkload(number), 1, 0))
	}
	for _, name := range names(r.runs[0].deployment.CPU) {
		compared("CPU of "+name+" (s)", 1, func(u load.Update) float64 { return u.CPU[name].Seconds() })
	}
	compared("CPU of all for events written later (s)", 1, func(u load.Update) float64 { return u.Late.Seconds() })
	compared("CPU of all when idle (s per s)", 2, func(u load.Update) float64 { return u.Idle })
	compared("writes of ReplicaSets, by all", 0, func(u load.Update) float64 { return u.Counts.ReplicaSets })
	compared("writes of workloads, by all", 0, func(u load.Update) float64 { return u.Counts.Workloads })
	compared("writes of events, by all", 0, func(u load.Update) float64 { return u.Counts.Events })
	compared("writes of pods, by all", 0, func(u load.Update) float64 { return u.Counts.Pods })
	alone("ReplicaSet writes per workload, as we count", func(c load.Counts) float64 { return c.HostReplicaSets })
	alone("ReplicaSet writes per workload, as the host counts", func(c load.Counts) float64 { return c.SeenReplicaSets })
	alone("event writes per workload", func(c load.Counts) float64 { return c.HostEvents })
	alone("ConfigMap writes per workload", func(c load.Counts) float64 { return c.HostRecords })
	alone("dry runs in the host per workload", func(c load.Counts) float64 { return c.DryRuns })
	alone("status writes per workload, as the server counts", func(c load.Counts) float64 { return c.SeenStatus })
	return append(rows, figures.Alone("promotes sent again after a conflict",
		r.median(func(m measured) float64 { return float64(m.latency.Conflicts) }), 0, 0))
}

// names are the names of the processes, sorted.
func names(cpu plane.CPU) []string { return slices.Sorted(maps.Keys(cpu)) }

func (r results) realPods() section {
	seconds := func(measure string, of func(pods.Seen) time.Duration) figures.Row {
		figure := func(kind func(measured) pods.Seen) float64 {
			return r.median(func(m measured) float64 { return of(kind(m)).Seconds() })
		}
		return figures.Compared(measure, figure(func(m measured) pods.Seen { return m.pods.Deployment }), figure(func(m measured) pods.Seen { return m.pods.Rollout }), 2, 0)
	}
	count := func(of func(pods.Seen) int, kind func(measured) pods.Seen) float64 {
		var sum float64
		for _, run := range r.runs {
			sum += float64(of(kind(run)))
		}
		return sum
	}
	rollout, deployment := func(m measured) pods.Seen { return m.pods.Rollout }, func(m measured) pods.Seen { return m.pods.Deployment }
	requests, failed := func(s pods.Seen) int { return s.Requests }, func(s pods.Seen) int { return s.Failed }
	return section{
		title: "Real pods under load",
		text: `On a real node with containers, Sluice installed by the manifests that ship. Five pods of an application answer constant load,
each request with a connection of its own. The Rollout goes to a canary of 20 % and is aborted there; the Deployment, with
the same pods and bounds, is updated and undone. To go back counts from the order to the last answer of the new version,
which goes on answering for two seconds after it was told to end.`,
		measured: fmt.Sprintf("%.0f requests to the Rollout, %.0f to the Deployment", count(requests, rollout), count(requests, deployment)),
		tables: []figures.Table{{Peer: "Deployment", Rows: []figures.Row{
			figures.Alone("boot, until the node is ready (s)", r.median(func(m measured) float64 { return m.pods.NodeReady.Seconds() }), 1, 0),
			figures.Alone("install, until the APIService is Available (s)", r.median(func(m measured) float64 { return m.pods.Served.Seconds() }), 1, 0),
			seconds("change of the image until the first new answer (s)", func(s pods.Seen) time.Duration { return s.First }),
			seconds("abort or undo until the last new answer (s)", func(s pods.Seen) time.Duration { return s.Last }),
			figures.Never("failed requests, in all runs", count(failed, deployment), count(failed, rollout)),
		}}},
	}
}
