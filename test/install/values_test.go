// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// update writes what is generated, instead of comparing it.
var update = flag.Bool("update", false, "write the values into the README of the chart")

// property is a part of the schema of the values.
type property struct {
	Description          string
	Type                 any
	Enum                 []any
	Properties           map[string]property
	AdditionalProperties any
	Items                *property
}

// schema is that of the values.
func schema(t *testing.T) property {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p property
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// defaults are those of values.yaml.
func defaults(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// value is one that can be set.
type value struct {
	path, description string
	standard          any
}

// leaves are all values that can be set, in alphabetical order, without those that only Helm itself sets.
func leaves(t *testing.T, prefix string, p property, standard any) []value {
	t.Helper()
	object, isObject := standard.(map[string]any)
	if !isObject || len(p.Properties) == 0 || prefix == "resources." {
		return []value{{strings.TrimSuffix(prefix, "."), p.Description, standard}}
	}
	var all []value
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		if prefix+name == "global" {
			continue
		}
		if _, there := object[name]; !there {
			t.Errorf("values.yaml has no %s%s", prefix, name)
		}
		all = append(all, leaves(t, prefix+name+".", p.Properties[name], object[name])...)
	}
	for name := range object {
		if _, known := p.Properties[name]; !known {
			t.Errorf("the schema does not know %s%s of values.yaml", prefix, name)
		}
	}
	return all
}

// Nothing may be set that is not described, at any depth.
func TestSchemaDescribesAndClosesEverything(t *testing.T) {
	var check func(path string, p property)
	check = func(path string, p property) {
		if p.Description == "" && path != "" {
			t.Errorf("%s has no description", path)
		}
		if len(p.Properties) > 0 && p.AdditionalProperties != false {
			t.Errorf("%q takes properties that it does not know", path)
		}
		for name, child := range p.Properties {
			check(strings.TrimPrefix(path+"."+name, "."), child)
		}
		if p.Items != nil && len(p.Items.Properties) > 0 {
			for name, child := range p.Items.Properties {
				check(path+"[]."+name, child)
			}
		}
	}
	check("", schema(t))
}

// Every value does something.
func TestEveryValueChangesWhatIsRendered(t *testing.T) {
	others := map[string]any{
		"mode": "external-etcd", "createNamespace": true,
		"image.repository": "registry.example.com/sluice", "image.tag": "v1", "image.digest": "sha256:" + strings.Repeat("0a", 32), "image.pullPolicy": "Always",
		"imagePullSecrets": []any{map[string]any{"name": "pull"}},
		"storage.size":     "20Gi", "storage.storageClassName": "fast", "snapshots.size": "20Gi", "snapshots.storageClassName": "cheap",
		"externalEtcd.replicas": 5, "externalEtcd.servers": []any{"https://other.example.com:2379"}, "externalEtcd.prefix": "/sluice", "externalEtcd.clientSecret": "other",
		"certManager.enabled": true, "certManager.issuer.name": "other", "certManager.issuer.kind": "Issuer", "certManager.issuer.group": "example.com",
		"resources":    map[string]any{"limits": map[string]any{"memory": "1Gi"}},
		"extraArgs":    []any{"--audit-log-maxage=7"},
		"nodeSelector": map[string]any{"disk": "ssd"}, "podAnnotations": map[string]any{"example.com/team": "delivery"},
		"tolerations":       []any{map[string]any{"key": "dedicated", "operator": "Exists"}},
		"affinity":          map[string]any{"podAntiAffinity": map[string]any{}},
		"priorityClassName": "system-cluster-critical",
	}
	all := leaves(t, "", schema(t), defaults(t))
	for _, v := range all {
		other, there := others[v.path]
		if !there {
			t.Errorf("%s is not tried", v.path)
			continue
		}
		for _, mode := range affected(v.path) {
			base := map[string]any{"mode": mode}
			if mode == "external-etcd" || v.path == "mode" {
				base["externalEtcd"] = map[string]any{"servers": []any{"https://etcd.example.com:2379"}}
			}
			if strings.HasPrefix(v.path, "certManager.issuer.") {
				base["certManager"] = map[string]any{"enabled": true, "issuer": map[string]any{"name": "company"}}
			}
			before := rendered(t, base)
			set(base, v.path, other)
			if after := rendered(t, base); same(before, after) {
				t.Errorf("with the mode %s, %s=%v changes nothing", mode, v.path, other)
			}
		}
	}
	if len(all) != len(others) {
		t.Errorf("%d values are tried, and there are %d", len(others), len(all))
	}
}

// affected are the modes in which a value is of any matter.
func affected(path string) []string {
	switch {
	case path == "mode":
		return []string{"embedded"}
	case strings.HasPrefix(path, "storage."), strings.HasPrefix(path, "snapshots."):
		return []string{"embedded", "ha"}
	case strings.HasPrefix(path, "externalEtcd."):
		return []string{"external-etcd"}
	}
	return []string{"embedded", "ha", "external-etcd"}
}

// set sets a value by its path.
func set(values map[string]any, path string, to any) {
	name, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		values[name] = to
		return
	}
	inner, _ := values[name].(map[string]any)
	inner = maps.Clone(inner)
	if inner == nil {
		inner = map[string]any{}
	}
	values[name] = inner
	set(inner, rest, to)
}

func same(a, b objects) bool {
	return maps.EqualFunc(a, b, func(a, b *unstructured.Unstructured) bool { return equality.Semantic.DeepEqual(a.Object, b.Object) })
}

// Wrong values are refused before anything is installed, with the name of the value.
func TestWrongValues(t *testing.T) {
	external := func(etcd map[string]any) map[string]any {
		return map[string]any{"mode": "external-etcd", "externalEtcd": etcd}
	}
	servers := []any{"https://etcd.example.com:2379"}
	for name, row := range map[string]struct {
		values map[string]any
		says   []string
	}{
		"a mode that does not exist":        {map[string]any{"mode": "raft"}, []string{"/mode", "'embedded'", "'ha'", "'external-etcd'"}},
		"a misspelt value":                  {map[string]any{"replicas": 3}, []string{"additional properties 'replicas' not allowed"}},
		"a misspelt value within":           {map[string]any{"image": map[string]any{"tagg": "v1"}}, []string{"/image", "'tagg' not allowed"}},
		"no servers":                        {external(map[string]any{"servers": []any{}}), []string{"/externalEtcd/servers", "minItems"}},
		"no word of servers":                {external(map[string]any{"servers": nil}), []string{"/externalEtcd", "servers"}},
		"a server without TLS":              {external(map[string]any{"servers": []any{"http://etcd:2379"}}), []string{"/externalEtcd/servers/0", "does not match pattern"}},
		"a server without port":             {external(map[string]any{"servers": []any{"https://etcd"}}), []string{"/externalEtcd/servers/0"}},
		"servers in one text":               {external(map[string]any{"servers": "https://etcd:2379"}), []string{"/externalEtcd/servers", "got string, want array"}},
		"no replica":                        {external(map[string]any{"servers": servers, "replicas": 0}), []string{"/externalEtcd/replicas", "minimum"}},
		"half a replica":                    {external(map[string]any{"servers": servers, "replicas": 1.5}), []string{"/externalEtcd/replicas", "want integer"}},
		"a prefix without slash":            {external(map[string]any{"servers": servers, "prefix": "sluice"}), []string{"/externalEtcd/prefix"}},
		"a digest that is none":             {map[string]any{"image": map[string]any{"digest": "sha256:abc"}}, []string{"/image/digest"}},
		"an empty tag":                      {map[string]any{"image": map[string]any{"tag": ""}}, []string{"/image/tag"}},
		"a pull policy that does not exist": {map[string]any{"image": map[string]any{"pullPolicy": "Sometimes"}}, []string{"/image/pullPolicy"}},
		"a size without unit":               {map[string]any{"storage": map[string]any{"size": "10"}}, []string{"/storage/size"}},
		"a number as annotation":            {map[string]any{"podAnnotations": map[string]any{"a": 1}}, []string{"/podAnnotations/a", "want string"}},
		"a flag without dashes":             {map[string]any{"extraArgs": []any{"v=2"}}, []string{"/extraArgs/0"}},
		"a Secret without name":             {map[string]any{"imagePullSecrets": []any{"pull"}}, []string{"/imagePullSecrets/0", "want object"}},
		"resources of another kind":         {map[string]any{"resources": map[string]any{"claims": []any{}}}, []string{"/resources", "'claims' not allowed"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := helm(systemNamespace, row.values)
			if err == nil {
				t.Fatal("they are not refused")
			}
			for _, says := range row.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the refusal does not have %q:\n%v", says, err)
				}
			}
		})
	}
}

// The README has every value with its default.
func TestReadmeOfTheChart(t *testing.T) {
	path := filepath.Join(chartFolder, "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- values: begin -->\n", "<!-- values: end -->"
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the values", path)
	}
	var table strings.Builder
	table.WriteString("| value | default | meaning |\n|---|---|---|\n")
	for _, v := range leaves(t, "", schema(t), defaults(t)) {
		standard, err := json.Marshal(v.standard)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, standard, strings.ReplaceAll(v.description, "|", `\|`))
	}
	want := before + begin + table.String() + end + after
	if want == string(text) {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the values in charts/sluice/README.md are not those of the schema: run go -C test/install test -run %s . -args -update", t.Name())
}
