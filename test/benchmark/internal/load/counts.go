// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"

	"sluice.dev/sluice/test/benchmark/internal/plane"
)

// Counts are numbers of requests.
type Counts struct {
	// ReplicaSets, Workloads, Events and Pods are writes to the objects themselves and to their status, by
	// whomever, as the API servers that store them counted.
	ReplicaSets, Workloads, Events, Pods float64
	// HostReplicaSets, HostEvents and HostRecords are the writes of Sluice to the host: ReplicaSets and
	// events as it counted itself; and ConfigMaps, in which it records how far its store has come, as the
	// host counted.
	HostReplicaSets, HostEvents, HostRecords float64
	// SeenReplicaSets are the same writes to ReplicaSets (not to their status) as the host counted, to
	// check the former; only meaningful where Sluice alone writes any.
	SeenReplicaSets float64
	// DryRuns are writes that only ask what would happen.
	DryRuns float64
	// Status are the writes of the status of Rollouts, as Sluice's controller counted itself, SeenStatus the
	// same as its API server counted.
	Status, SeenStatus float64
}

// Host are all writes of Sluice to the host.
func (c Counts) Host() float64 { return c.HostReplicaSets + c.HostEvents + c.HostRecords }

// reading are the metrics of both API servers at one time.
type reading struct{ host, sluice plane.Metrics }

func read(ctx context.Context, p *plane.Plane) (reading, error) {
	host, err := p.Metrics(ctx, plane.KubeAPIServer)
	if err != nil {
		return reading{}, err
	}
	sluice, err := p.Metrics(ctx, plane.SluiceAPIServer)
	return reading{host: host, sluice: sluice}, err
}

const requests = "apiserver_request_total"

var writing = []string{"POST", "PUT", "PATCH", "APPLY", "DELETE"}

func counts(kind Kind, before, after reading) Counts {
	host := func(labels plane.Labels) float64 {
		labels["verb"] = writing
		if labels["dry_run"] == nil {
			labels["dry_run"] = []string{""}
		}
		return after.host.Added(before.host, requests, labels)
	}
	own := func(name string, labels plane.Labels) float64 { return after.sluice.Added(before.sluice, name, labels) }
	c := Counts{
		ReplicaSets:     host(plane.Labels{"resource": {"replicasets"}}),
		Workloads:       host(plane.Labels{"resource": {kind.Resource}}),
		Events:          host(plane.Labels{"resource": {"events"}}),
		Pods:            host(plane.Labels{"resource": {"pods"}}),
		HostReplicaSets: own("sluice_host_writes_total", plane.Labels{"resource": {"replicasets"}}),
		HostEvents:      own("sluice_host_writes_total", plane.Labels{"resource": {"events"}}),
		HostRecords:     host(plane.Labels{"resource": {"configmaps"}}),
		SeenReplicaSets: host(plane.Labels{"resource": {"replicasets"}, "subresource": {""}}),
		DryRuns:         host(plane.Labels{"resource": {"replicasets", "podtemplates"}, "dry_run": {"All"}}),
		Status:          own("sluice_status_writes_total", nil),
		SeenStatus:      own(requests, plane.Labels{"resource": {kind.Resource}, "subresource": {"status"}, "verb": writing}),
	}
	// The aggregator forwards requests for Rollouts without counting them by resource.
	c.Workloads += own(requests, plane.Labels{"resource": {kind.Resource}, "verb": writing})
	return c
}
