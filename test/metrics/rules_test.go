// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// root is that of the source tree.
const root = "../.."

// promtool runs Prometheus' own tool, and fails the test with what it says if it is not content.
func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	if output, err := exec.Command(path, arguments...).CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", arguments, err, output)
	}
}

// series is one in the notation of promtool, and its values from minute to minute.
type series struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

// alertCase is what fires an alert, and what does not.
type alertCase struct {
	fires, quiet []series
	// after is when it is looked at. Those that fire have done so by then, and not a minute too soon.
	after string
	// labels and annotations are those that the rule makes of what it finds.
	labels, annotations map[string]string
}

// both are the series of two replicas with different values.
func both(metric, labels, first, second string) []series {
	if labels != "" {
		labels = "," + labels
	}
	return []series{{metric + `{instance="a"` + labels + `}`, first}, {metric + `{instance="b"` + labels + `}`, second}}
}

var alertCases = map[string]alertCase{
	"SluiceDown": {
		fires: both("up", `job="sluice-apiserver"`, "0x60", "0x60"), quiet: both("up", `job="sluice-apiserver"`, "0x60", "1x60"), after: "3m"},
	"SluiceStoreRefused": {
		fires: both("sluice_store_verdict", `verdict="refused"`, "1x60", "0x60"), quiet: both("sluice_store_verdict", `verdict="refused"`, "0x60", "0x60"), after: "2m",
		labels: map[string]string{"verdict": "refused"}},
	"SluiceStoreUnknown": {
		fires: both("sluice_store_verdict", `verdict="unknown"`, "1x60", "0x60"), quiet: both("sluice_store_verdict", `verdict="unknown"`, "1 1 1 0x60", "0x60"), after: "6m",
		labels: map[string]string{"verdict": "unknown"}},
	"SluiceNoLeader":   {fires: both("sluice_leader", "", "0x60", "0x60"), quiet: both("sluice_leader", "", "0x60", "1x60"), after: "2m"},
	"SluiceTwoLeaders": {fires: both("sluice_leader", "", "1x60", "1x60"), quiet: both("sluice_leader", "", "1x60", "0x60"), after: "2m"},
	"SluiceRolloutsDegraded": {
		fires: both("sluice_rollouts", `phase="Degraded",strategy="canary"`, "2x60", "2x60"), quiet: both("sluice_rollouts", `phase="Paused",strategy="canary"`, "2x60", "2x60"), after: "16m",
		labels: map[string]string{"strategy": "canary"}, annotations: map[string]string{"summary": "2 Rollouts (canary) are Degraded"}},
	"SluiceReconcileErrors": {
		fires: both("sluice_reconcile_duration_seconds_count", `result="error"`, "0+60x60", "0x60"), quiet: both("sluice_reconcile_duration_seconds_count", `result="conflict"`, "0+60x60", "0x60"), after: "20m",
		annotations: map[string]string{"description": `1 looks at Rollouts a second end with an error. The log has them as "A Rollout could not be brought forward".`}},
	"SluiceHostRefuses": {
		fires: both("sluice_reconcile_duration_seconds_count", `result="refused"`, "0+6x60", "0x60"), quiet: both("sluice_reconcile_duration_seconds_count", `result="refused"`, "5x60", "0x60"), after: "30m"},
	"SluiceQueueGrows": {
		fires: both("workqueue_depth", `name="rollouts"`, "150x60", "0x60"), quiet: both("workqueue_depth", `name="other"`, "150x60", "0x60"), after: "11m",
		annotations: map[string]string{"summary": "150 Rollouts wait to be looked at"}},
	"SluiceSlowToAct": {
		fires: append(both("sluice_spec_change_to_host_write_seconds_bucket", `le="8"`, "0x60", "0x60"), both("sluice_spec_change_to_host_write_seconds_bucket", `le="+Inf"`, "0+10x60", "0x60")...),
		quiet: append(both("sluice_spec_change_to_host_write_seconds_bucket", `le="4"`, "0+10x60", "0x60"), both("sluice_spec_change_to_host_write_seconds_bucket", `le="+Inf"`, "0+10x60", "0x60")...), after: "30m",
		annotations: map[string]string{"summary": "Changes take 8s to reach the cluster"}},
	"SluiceCertificateExpires": {
		fires: both("sluice_serving_certificate_expiration_timestamp_seconds", "", "9e9x120", "90000x120"), quiet: both("sluice_serving_certificate_expiration_timestamp_seconds", "", "9e9x120", "9e9x120"), after: "70m",
		annotations: map[string]string{"summary": "The serving certificate expires in 23h 50m 0s"}},
	"SluiceStorageFillsUp": {
		fires: append(both("apiserver_storage_size_bytes", "", "90x60", "10x60"), both("sluice_embedded_etcd_quota_bytes", "", "100x60", "100x60")...),
		// With another etcd there is no quota to compare with.
		quiet: append(both("apiserver_storage_size_bytes", "", "90x60", "10x60"), both("sluice_embedded_etcd_quota_bytes", "", "0x60", "0x60")...), after: "11m",
		annotations: map[string]string{"summary": "The database is 90% full"}},
	// The time of these tests begins at 0, and so does the value of a folder without a snapshot.
	"SluiceSnapshotMissing": {
		fires: both("sluice_snapshot_last_success_timestamp_seconds", "", "0x300", "0x300"), quiet: both("sluice_snapshot_last_success_timestamp_seconds", "", "0x300", "0 9000x300"), after: "197m"},
	"SluiceSnapshotVolumeFillsUp": {
		fires: append(both("sluice_snapshot_volume_free_bytes", "", "9e9x60", "2048x60"), both("sluice_snapshot_size_bytes", "", "0x60", "1500x60")...),
		quiet: append(both("sluice_snapshot_volume_free_bytes", "", "9e9x60", "4096x60"), both("sluice_snapshot_size_bytes", "", "0x60", "1500x60")...), after: "16m",
		annotations: map[string]string{"summary": "2kiB are free on the volume of the snapshots"}},
}

func TestRulesAndConfigurationAreValid(t *testing.T) {
	promtool(t, "check", "rules", filepath.Join(root, rulesPath))
	content, err := os.ReadFile(filepath.Join(root, "artifacts/monitoring/prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Debian's build does not know how to find pods.
	_, after, found := strings.Cut(string(content), "  kubernetes_sd_configs:\n  - role: pod\n    namespaces:\n      names: [sluice-system]\n")
	if !found {
		t.Fatal("the job does not look for pods in sluice-system")
	}
	before, _, _ := strings.Cut(string(content), "  kubernetes_sd_configs:")
	path := filepath.Join(t.TempDir(), "prometheus.yaml")
	if err := os.WriteFile(path, []byte(before+"  static_configs:\n  - targets: [localhost:8443]\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", "--syntax-only", path)
}

// Every alert fires when it should, with what it says, and only then.
func TestEveryAlert(t *testing.T) {
	file, err := readRules(root)
	if err != nil {
		t.Fatal(err)
	}
	rules := file.rules()
	var names []string
	for _, r := range rules {
		names = append(names, r.Alert)
	}
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(alertCases)); !slices.Equal(names, want) {
		t.Fatalf("the rules are %v, and tests are there for %v", names, want)
	}
	type alert struct {
		Labels      map[string]string `json:"exp_labels"`
		Annotations map[string]string `json:"exp_annotations"`
	}
	type alertTest struct {
		EvalTime string  `json:"eval_time"`
		Name     string  `json:"alertname"`
		Alerts   []alert `json:"exp_alerts"`
	}
	type unit struct {
		Interval string      `json:"interval"`
		Input    []series    `json:"input_series"`
		Tests    []alertTest `json:"alert_rule_test"`
	}
	var units []unit
	for _, r := range rules {
		c := alertCases[r.Alert]
		labels, annotations := maps.Clone(r.Labels), maps.Clone(r.Annotations)
		maps.Copy(labels, c.labels)
		maps.Copy(annotations, c.annotations)
		units = append(units,
			unit{"1m", c.fires, []alertTest{{c.after, r.Alert, []alert{{labels, annotations}}}, {"0m", r.Alert, nil}}},
			unit{"1m", c.quiet, []alertTest{{c.after, r.Alert, nil}}})
	}
	path, err := filepath.Abs(filepath.Join(root, rulesPath))
	if err != nil {
		t.Fatal(err)
	}
	content, err := yaml.Marshal(map[string]any{"rule_files": []string{path}, "evaluation_interval": "1m", "tests": units})
	if err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(tests, content, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", tests)
}

// What is written is what the source makes now.
func TestDocumentsAreUpToDate(t *testing.T) {
	for path, make := range map[string]func(string) (string, error){documentPath: document, operatorPath: operatorRules} {
		want, err := make(root)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is stale: run make metrics and commit the result", path)
		}
	}
}

// The alerts for the operator are those of the file.
func TestOperatorHasTheSameRules(t *testing.T) {
	text, err := operatorRules(root)
	if err != nil {
		t.Fatal(err)
	}
	_, second, _ := strings.Cut(text, "\n---\n")
	var object struct {
		Spec ruleFile `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(second), &object); err != nil {
		t.Fatal(err)
	}
	file, err := readRules(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := object.Spec.rules(), file.rules(); len(want) == 0 || !slices.EqualFunc(got, want, func(a, b rule) bool {
		return a.Alert == b.Alert && a.Expr == b.Expr && a.For == b.For && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
	}) {
		t.Errorf("the operator has %+v, the file %+v", got, want)
	}
}
