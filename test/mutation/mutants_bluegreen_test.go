// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package mutation

// blueGreenMutants break the switch, and what is kept around it.
var blueGreenMutants = []mutant{
	{"clients are led to pods that are not available", "bluegreen.go",
		`p.size >= n && p.available >= n`, `p.size >= n`,
		"an outage at the moment of the switch"},
	{"a switch does not wait for a promote", "bluegreen.go",
		`ptr.Deref(b.AutoPromotionEnabled, true)`, `true`,
		"nobody is asked"},
	{"a switch waits for half of its time", "bluegreen.go",
		"StartTime.Add(length))) {\n\t\tsetPromoted(st)", "StartTime.Add(length / 2))) {\n\t\tsetPromoted(st)",
		"what was to be watched for a minute is watched for less"},
	{"the preview has all pods", "bluegreen.go",
		`return min(ptr.Deref(blueGreen(r).PreviewReplicaCount, n), n)`, `return n`,
		"a preview costs as much as what serves"},
	{"pods of before go at once", "bluegreensizes.go",
		`if d.ledElsewhere(rs) && (d.left(rs) <= 0 ||`, `if d.ledElsewhere(rs) && (true ||`,
		"requests on their way to them are lost, and the way back is long"},
	{"pods that a Service leads to go", "bluegreensizes.go",
		` || d.selected(hashOf(rs)):`, `:`,
		"whoever looks at the preview sees errors"},
	{"pods of an aborted update go at once", "bluegreensizes.go",
		"if d.left(d.current) > 0 {\n\t\treturn kept", "if d.left(d.current) > 0 {\n\t\treturn 0",
		"nobody can look at what went wrong"},
	{"three times as many pods", "bluegreensizes.go",
		`room := 2*replicas(d.rollout)`, `room := 3*replicas(d.rollout)`,
		"the nodes do not have the room"},
	{"what is to shrink takes no room", "bluegreensizes.go",
		`room -= roomOf(poolOf(rs), older[i])`, `room -= max(older[i], poolOf(rs).pods)`,
		"the nodes do not have the room"},
	{"an abort leaves clients while paused", "bluegreenservices.go",
		`!r.Status.Abort && (r.Spec.Paused ||`, `(r.Spec.Paused ||`,
		"the emergency brake does not brake"},
	{"clients are led before the status says so", "bluegreenservices.go",
		`d.fenced = len(d.out.Services) > before`, `d.fenced = false && len(d.out.Services) > before`,
		"a controller that was held up leads clients to what was given up"},
	{"a new template keeps the promotion", "revision.go",
		"clearPromoted(st)\n\t\tvoidApprovals(st)", "voidApprovals(st)",
		"the next revision is switched to unasked"},
}
