// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// documentPath is where the document is, in the source tree.
const documentPath = "docs/metrics.md"

// library is a metric of the Kubernetes libraries that is worth knowing here.
type library struct{ name, labels, what string }

// libraries are some of those that every API server has. The end-to-end tests find each of them in a real server.
var libraries = []library{
	{"workqueue_depth", `name="rollouts"`, "Rollouts that wait to be looked at: the depth of the controller's queue. Its other `workqueue_*` are there too"},
	{"leader_election_master_status", `name="sluice-controller"`, "Whether this replica holds the Lease"},
	{"apiserver_storage_size_bytes", "`storage_cluster_id`", "Size of the database of etcd, embedded or not"},
	{"apiserver_request_total", `group="sluice.dev"`, "Requests, by verb, resource, subresource and code"},
	{"apiserver_request_duration_seconds", `group="sluice.dev"`, "How long they took"},
	{"apiserver_current_inflight_requests", "`request_kind`", "Requests that are being answered"},
	{"apiserver_longrunning_requests", `group="sluice.dev"`, "Watches that are open"},
	{"apiserver_resource_objects", `group="sluice.dev"`, "Rollouts that are stored"},
	{"etcd_request_duration_seconds", "`operation`, `type`", "How long etcd took"},
	{"rest_client_requests_total", "`code`, `method`, `host`", "Requests of the server itself, to the cluster and to itself"},
	{"process_resident_memory_bytes", "", "Memory"},
	{"process_cpu_seconds_total", "", "Processor time"},
}

// document is the text.
func document(root string) (string, error) {
	defined, err := definitions(root)
	if err != nil {
		return "", err
	}
	groups, err := readRules(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(preface)
	b.WriteString("| metric | type | labels | stability | meaning |\n|---|---|---|---|---|\n")
	for _, d := range defined {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", d.name, d.kind, d.labels, d.stability, d.help)
	}
	b.WriteString(aboutLibraries)
	b.WriteString("| metric | labels | meaning |\n|---|---|---|\n")
	for _, l := range libraries {
		labels := l.labels
		if strings.Contains(labels, "=") {
			labels = "`" + labels + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", l.name, labels, l.what)
	}
	b.WriteString(aboutAlerts)
	b.WriteString("| alert | severity | after | means |\n|---|---|---|---|\n")
	for _, rule := range groups.rules() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", rule.Alert, rule.Labels["severity"], rule.For, rule.Annotations["description"])
	}
	b.WriteString(aboutOthers)
	return b.String(), nil
}

const preface = `<!-- Written by "make metrics" from the source and from artifacts/monitoring/rules.yaml. Do not edit. -->

# Metrics, logs and traces

- [Who may read them](#who-may-read-them)
- [Metrics of Sluice](#metrics-of-sluice)
- [Metrics of every API server](#metrics-of-every-api-server)
- [Dashboard and alerts](#dashboard-and-alerts)
- [Logs](#logs)
- [Traces](#traces)

## Who may read them

` + "`/metrics`" + ` of each replica, on the port that it serves on. It needs the right to ` + "`get`" + ` the non-resource URL
` + "`/metrics`" + `, which the ClusterRole ` + "`sluice-metrics-reader`" + ` gives. For the ServiceAccount of Prometheus:

` + "```sh" + `
kubectl create clusterrolebinding prometheus-reads-sluice --clusterrole=sluice-metrics-reader --serviceaccount=monitoring:prometheus
` + "```" + `

[` + "`artifacts/monitoring`" + `](../artifacts/monitoring) has ` + "`prometheus.yaml`" + `, a job for Prometheus, and ` + "`prometheusrule.yaml`" + `, a
ServiceMonitor with the alerts for the Prometheus operator. Scrape every replica, not the Service.

## Metrics of Sluice

No label has a value that users choose: neither names nor namespaces. So there are as many series with ten Rollouts as with ten
thousand. ALPHA metrics may change their names.

`

const aboutLibraries = `
## Metrics of every API server

The Kubernetes libraries bring some hundred metrics more. These are the ones to know:

`

const aboutAlerts = `
## Dashboard and alerts

[` + "`dashboard.json`" + `](../artifacts/monitoring/dashboard.json) is for Grafana: import it, and choose the data source and the job.
[` + "`rules.yaml`" + `](../artifacts/monitoring/rules.yaml) are alerts for Prometheus. Every one of them is tested with promtool,
and every expression of either with a Prometheus that scrapes a real server.

`

const aboutOthers = `
Besides, watch the APIService with what watches your cluster: ` + "`aggregator_unavailable_apiservice{name=\"v1alpha1.sluice.dev\"}`" + ` of
kube-apiserver.

## Logs

` + "`--logging-format=json`" + ` gives one JSON object a line, in place of text. Both go to standard error; the
[audit log](security.md#audit) goes to standard output and has a format of its own.

The controller logs one line for each decision that changed something, and none where nothing changes:

` + "```text" + `
"Decided" logger="rollout-controller" rollout="default/demo" revision=2 wrote=["created ReplicaSet demo-6d5f7c9b8 with 1","status"] phase="Progressing" step=0 why="more replicas need to be updated"
` + "```" + `

| key | meaning |
|---|---|
| ` + "`rollout`" + ` | Namespace and name; in JSON an object of both |
| ` + "`revision`" + ` | The revision that the Rollout is at |
| ` + "`wrote`" + ` | What was written, in order. ` + "`status`" + ` is that of the Rollout; all else is in the cluster |
| ` + "`phase`, `step`" + ` | What it led to; ` + "`step`" + ` counts from 0, and is left out if the strategy has no steps |
| ` + "`why`" + ` | ` + "`status.message`" + `, or that the Rollout is healthy |
| ` + "`unfinished`" + ` | What kept it from writing more, if anything did |

` + "`--v=2`" + ` adds Events, conflicts and refusals, ` + "`--v=4`" + ` what is waited for.

## Traces

With ` + "`--tracing-config-file`" + ` the server sends OpenTelemetry spans to a collector, by OTLP over gRPC:

` + "```yaml" + `
apiVersion: apiserver.config.k8s.io/v1
kind: TracingConfiguration
endpoint: otel-collector.monitoring.svc:4317
samplingRatePerMillion: 10000
` + "```" + `

Their ` + "`service.name`" + ` is ` + "`sluice-apiserver`" + `. A promote, as any other verb or change of a spec, is one trace: the request, with
admission, etcd and the dry run of a template in the cluster; ` + "`Decide`" + `, the decision that follows from it, with
` + "`rollout.namespace`, `rollout.name`, `rollout.revision`, `rollout.phase`, `rollout.wrote` and `rollout.why`" + `; and each write that it makes
to the cluster and of the status. The cluster's own API server gets the trace with those, and adds its spans if it traces too.

- Decisions after the first that wrote something are traces of their own, with a link to the request: an update may take weeks.
  Decisions that change nothing have no span.
- Which request led to a state is known to the replica that served it, of the newest 1,024 of them. Where another one leads,
  its decisions are traces of their own, without a link.
- A trace that a caller brings is continued for members of ` + "`system:masters` and `system:monitoring`" + `; for others, and so for what comes
  through the aggregator in their name, it becomes a link. That is how every Kubernetes API server has it.
`
