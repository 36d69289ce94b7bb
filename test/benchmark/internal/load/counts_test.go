// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"strings"
	"testing"

	"sluice.dev/sluice/test/benchmark/internal/plane"
)

const hostMetrics = `# TYPE apiserver_request_total counter
apiserver_request_total{verb="POST",resource="replicasets",subresource="",dry_run=""} 1
apiserver_request_total{verb="PATCH",resource="replicasets",subresource="",dry_run=""} 9
apiserver_request_total{verb="PUT",resource="replicasets",subresource="status",dry_run=""} 20
apiserver_request_total{verb="POST",resource="replicasets",subresource="",dry_run="All"} 2
apiserver_request_total{verb="LIST",resource="replicasets",subresource="",dry_run=""} 100
apiserver_request_total{verb="POST",resource="events",subresource="",dry_run=""} 7
apiserver_request_total{verb="PUT",resource="configmaps",subresource="",dry_run=""} 3
apiserver_request_total{verb="DELETE",resource="pods",subresource="",dry_run=""} 5
`

const sluiceMetrics = `# TYPE apiserver_request_total counter
apiserver_request_total{verb="PATCH",resource="rollouts",subresource="",dry_run=""} 1
apiserver_request_total{verb="PUT",resource="rollouts",subresource="status",dry_run=""} 8
apiserver_request_total{verb="GET",resource="rollouts",subresource="",dry_run=""} 50
# TYPE sluice_host_writes_total counter
sluice_host_writes_total{verb="create",resource="replicasets"} 1
sluice_host_writes_total{verb="patch",resource="replicasets"} 9
sluice_host_writes_total{verb="create",resource="events"} 2
# TYPE sluice_status_writes_total counter
sluice_status_writes_total 8
`

func TestCounts(t *testing.T) {
	parse := func(text string) plane.Metrics {
		m, err := plane.ParseMetrics(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	got := counts(Kind{Resource: "rollouts"}, reading{}, reading{host: parse(hostMetrics), sluice: parse(sluiceMetrics)})
	want := Counts{
		ReplicaSets: 30, Workloads: 9, Events: 7, Pods: 5,
		HostReplicaSets: 10, HostEvents: 2, HostRecords: 3, SeenReplicaSets: 10, DryRuns: 2,
		Status: 8, SeenStatus: 8,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.Host() != 15 {
		t.Errorf("writes to the host are those to ReplicaSets, events and ConfigMaps: got %v, want 15", got.Host())
	}
}
