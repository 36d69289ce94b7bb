// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// shipped are the scripts of this source tree.
var shipped = Scripts{Root: "../.."}

// read reads a YAML file that lies beside the scripts.
func read(t *testing.T, into any, path ...string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{shipped.Root, folder}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		t.Fatal(err)
	}
}

func object(t *testing.T, path ...string) *unstructured.Unstructured {
	t.Helper()
	var content map[string]any
	read(t, &content, path...)
	return &unstructured.Unstructured{Object: content}
}

// The test cases have the format of those of Argo CD itself, so that they run there as well.
func TestHealth(t *testing.T) {
	var cases struct {
		Tests []struct {
			HealthStatus Health `json:"healthStatus"`
			InputPath    string `json:"inputPath"`
		} `json:"tests"`
	}
	read(t, &cases, "health_test.yaml")
	seen := map[string]bool{}
	for _, c := range cases.Tests {
		got, err := shipped.Health(object(t, c.InputPath))
		if err != nil {
			t.Fatal(err)
		}
		if got != c.HealthStatus {
			t.Errorf("%s: got %+v, want %+v", c.InputPath, got, c.HealthStatus)
		}
		seen[got.Status] = true
	}
	if want := []string{"Degraded", "Healthy", "Progressing", "Suspended", "Unknown"}; !slices.Equal(slices.Sorted(maps.Keys(seen)), want) {
		t.Errorf("the cases have the health %v, want %v", seen, want)
	}
}

func TestActions(t *testing.T) {
	var cases struct {
		DiscoveryTests []struct {
			InputPath string   `json:"inputPath"`
			Result    []Action `json:"result"`
		} `json:"discoveryTests"`
		ActionTests []struct {
			Action             string            `json:"action"`
			InputPath          string            `json:"inputPath"`
			ExpectedOutputPath string            `json:"expectedOutputPath"`
			Parameters         map[string]string `json:"parameters"`
		} `json:"actionTests"`
	}
	read(t, &cases, "actions", "action_test.yaml")
	for _, c := range cases.DiscoveryTests {
		want := map[string]Action{}
		for _, action := range c.Result {
			want[action.Name] = action
		}
		got, err := shipped.Actions(object(t, "actions", c.InputPath))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.InputPath, diff)
		}
	}
	tested := map[string]bool{}
	for _, c := range cases.ActionTests {
		tested[c.Action] = true
		before := time.Now().Truncate(time.Second)
		got, err := shipped.Act(object(t, "actions", c.InputPath), c.Action, c.Parameters)
		if err != nil {
			t.Fatal(err)
		}
		want := object(t, "actions", c.ExpectedOutputPath)
		if c.Action == "restart" {
			restartsNow(t, got, before)
			unstructured.RemoveNestedField(got.Object, "spec", "restartAt")
			unstructured.RemoveNestedField(want.Object, "spec", "restartAt")
		}
		if diff := cmp.Diff(want.Object, got.Object); diff != "" {
			t.Errorf("%s of %s: (-want +got)\n%s", c.Action, c.InputPath, diff)
		}
	}
	names, err := shipped.actionNames()
	if err != nil {
		t.Fatal(err)
	}
	offered, err := shipped.Actions(object(t, "actions", "testdata", "rollout.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if sorted := slices.Sorted(maps.Keys(offered)); !slices.Equal(names, sorted) || !slices.Equal(names, slices.Sorted(maps.Keys(tested))) {
		t.Errorf("there are actions %v, %v are offered and %v are tested", names, sorted, tested)
	}
}

// restartsNow checks the time that the script took from the clock.
func restartsNow(t *testing.T, acted *unstructured.Unstructured, before time.Time) {
	t.Helper()
	text, _, _ := unstructured.NestedString(acted.Object, "spec", "restartAt")
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("spec.restartAt is %q, which is not now: %v", text, err)
	}
}

func TestScaleToWhatIsNoNumber(t *testing.T) {
	_, err := shipped.Act(object(t, "actions", "testdata", "rollout.yaml"), "scale", map[string]string{"replicas": "many"})
	if err == nil || !strings.Contains(err.Error(), "replicas must be a number, not many") {
		t.Errorf("got %v", err)
	}
}

// Only the spec is written: nobody but the server may say that a verb was performed.
func TestPatches(t *testing.T) {
	for action, want := range map[string]string{
		"pause":  `{"spec":{"paused":true}}`,
		"resume": `{"spec":{"paused":null}}`,
		"scale":  `{"spec":{"replicas":6}}`,
	} {
		path := "rollout.yaml"
		if action == "resume" {
			path = "rollout_paused.yaml"
		}
		before := object(t, "actions", "testdata", path)
		after, err := shipped.Act(before, action, map[string]string{"replicas": "6"})
		if err != nil {
			t.Fatal(err)
		}
		spec, status, err := Patch(before, after)
		if err != nil || string(spec) != want || status != nil {
			t.Errorf("%s: got %s and for the status %s, want %s and nothing: %v", action, spec, status, want, err)
		}
	}
}

// The ConfigMap that ships has the scripts as they are.
func TestConfigMap(t *testing.T) {
	want, err := shipped.configMap()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(shipped.Root, configMapPath))
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != want {
		t.Errorf("%s is stale: run make argocd and commit the result", configMapPath)
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	var actions struct {
		Discovery   string `json:"discovery.lua"`
		Definitions []struct {
			Name   string `json:"name"`
			Script string `json:"action.lua"`
		} `json:"definitions"`
	}
	if err := yaml.Unmarshal(content, &configMap); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(configMap.Data["resource.customizations.actions.sluice.dev_Rollout"]), &actions); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"health.lua": configMap.Data["resource.customizations.health.sluice.dev_Rollout"], "actions/discovery.lua": actions.Discovery}
	for _, d := range actions.Definitions {
		got["actions/"+d.Name+"/action.lua"] = d.Script
	}
	for path, script := range got {
		file, err := os.ReadFile(filepath.Join(shipped.Root, folder, path))
		if err != nil {
			t.Fatal(err)
		}
		if script != string(file) {
			t.Errorf("%s is in the ConfigMap as\n%s", path, script)
		}
	}
}
