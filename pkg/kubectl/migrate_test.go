// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"
)

const (
	argoManifest = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: demo
spec:
  # A comment.
  selector: {matchLabels: {app: demo}}
  template: {metadata: {labels: {app: demo}}, spec: {containers: [{name: app, image: "app:1"}]}}
  strategy:
    canary:
      dynamicStableScale: true
      steps:
      - setWeight: 20
      - pause: {duration: 10m}
`
	sluiceManifest = `apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata:
  name: demo
spec:
  selector:
    matchLabels:
      app: demo
  strategy:
    canary:
      steps:
      - setWeight: 20
      - pause:
          duration: 10m
  template:
    metadata:
      labels:
        app: demo
    spec:
      containers:
      - image: app:1
        name: app
`
	droppedNote   = "rollout.argoproj.io/demo: spec.strategy.canary.dynamicStableScale: not carried: goes with trafficRouting, which is not served; without it the stable pods always make room\n"
	otherManifest = `apiVersion: v1
data:
  a: "1"
kind: ConfigMap
metadata:
  name: settings
`
	withStep = argoManifest + "      - analysis: {templates: [{templateName: ok}]}\n"
	lostStep = "rollout.argoproj.io/demo: spec.strategy.canary.steps[2].analysis: not carried: analysis is not served: nothing would decide whether to go on; a pause lets people do so\n"
)

// write makes files in a folder of their own, and returns that.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMigrateManifests(t *testing.T) {
	dir := write(t, map[string]string{
		"rollout.yaml":             argoManifest,
		"step.yaml":                withStep,
		"all/rollout.yaml":         argoManifest + "---\n" + otherManifest,
		"all/deep/config.yaml":     otherManifest,
		"kustom/rollout.yaml":      argoManifest,
		"kustom/kustomization.yml": "namePrefix: pre-\nresources: [rollout.yaml]\n",
		"list.json":                asList(t, argoManifest, otherManifest),
		"bad.yaml":                 strings.Replace(argoManifest, "setWeight: 20", "setWeight: 200", 1) + "---\n" + otherManifest,
		"others.yaml": `apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: ok
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: demo
spec:
  scaleTargetRef:
    apiVersion: argoproj.io/v1alpha1
    kind: Rollout
    name: demo
`,
		"empty.yaml": "# nothing\n",
	})
	for _, test := range []struct {
		rule, line  string
		code        int
		out, errOut string
	}{
		{"a file", "-f rollout.yaml", 0, sluiceManifest, droppedNote},
		{"a folder, and what is of another kind as it is", "-f all", 0, sluiceManifest + "---\n" + otherManifest, droppedNote},
		{"the folders in it", "-R -f all", 0, otherManifest + "---\n" + sluiceManifest + "---\n" + otherManifest, droppedNote},
		{"a kustomization", "-k kustom", 0, strings.Replace(sluiceManifest, "name: demo\n", "name: pre-demo\n", 1), strings.Replace(droppedNote, "/demo", "/pre-demo", 1)},
		{"the objects of a list", "-f list.json", 0, sluiceManifest + "---\n" + otherManifest, droppedNote},
		{"standard input, with files", "-f - -f rollout.yaml", 0, otherManifest + "---\n" + sluiceManifest, droppedNote},
		{"a step that is lost", "-f step.yaml", 1, "", droppedNote + lostStep +
			"rollout.argoproj.io/demo: not printed: without these steps an update would do something else; --drop-unsupported leaves them out\n" +
			"error: 1 of 1 Rollouts cannot be carried as they are, and were not printed"},
		{"a step that may be lost", "-f step.yaml --drop-unsupported", 0, sluiceManifest, droppedNote + lostStep},
		{"a value that is refused", "-f bad.yaml --drop-unsupported", 1, otherManifest, droppedNote +
			"rollout.argoproj.io/demo: spec.strategy.canary.steps[0].setWeight: Invalid value: 200: must be between 0 and 100, inclusive\n" +
			"error: 1 of 1 Rollouts cannot be carried as they are, and were not printed"},
		{"what else speaks of Argo's", "-f others.yaml", 0, `apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: ok
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: demo
spec:
  scaleTargetRef:
    apiVersion: argoproj.io/v1alpha1
    kind: Rollout
    name: demo
`, "analysistemplate.argoproj.io/ok: is printed as it is: Sluice does not serve this kind\n" +
			"horizontalpodautoscaler.autoscaling/demo: spec.scaleTargetRef.apiVersion: is printed as it is, and names the Rollout of Argo's: set it to sluice.dev/v1alpha1"},
		{"nothing", "-f empty.yaml", 1, "", "error: there are no manifests in it"},
		{"no file", "-f none.yaml", 1, "", `error: the path "none.yaml" does not exist`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Chdir(dir)
			b := newBench()
			b.In = strings.NewReader(otherManifest)
			b.expect(t, "migrate "+test.line, test.code, test.out, test.errOut)
		})
	}
}

// asList is a v1 List of manifests, as JSON.
func asList(t *testing.T, manifests ...string) string {
	t.Helper()
	var items []string
	for _, manifest := range manifests {
		item, err := yaml.YAMLToJSON([]byte(manifest))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, string(item))
	}
	return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",") + `]}`
}

func TestMigrateManifestsAsJSON(t *testing.T) {
	t.Chdir(write(t, map[string]string{"one.yaml": argoManifest, "two.yaml": otherManifest}))
	for line, want := range map[string]string{
		"migrate -o json -f one.yaml":             sluiceManifest,
		"migrate -o json -f one.yaml -f two.yaml": asList(t, sluiceManifest, otherManifest),
	} {
		b := newBench()
		if code := b.do(t.Context(), line); code != 0 {
			t.Errorf("%s: exit code %d: %s", line, code, b.errOut)
		}
		out := b.out.String()
		if !strings.HasPrefix(out, "{") || !sameManifest(t, out, want) {
			t.Errorf("%s printed\n%s", line, out)
		}
	}
}

func sameManifest(t *testing.T, a, b string) bool {
	t.Helper()
	var texts []string
	for _, text := range []string{a, b} {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		encoded, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(encoded))
	}
	return texts[0] == texts[1]
}

func TestMigrateUsage(t *testing.T) {
	for line, want := range map[string]string{
		"migrate":                                 "give manifests with -f or -k, or --live",
		"migrate demo":                            "give manifests with -f or -k, or --live for Rollouts in the cluster",
		"migrate -f a demo":                       "give manifests with -f or -k, or --live for Rollouts in the cluster",
		"migrate -f a --live demo":                "give either manifests, with -f or -k, or --live, not both",
		"migrate --live":                          "give the NAME of a Rollout of Argo's, or --all",
		"migrate --live demo --all":               "give either NAMEs or --all, not both",
		"migrate --live demo -o json":             "--output is for manifests, not for --live",
		"migrate --live demo -R":                  "--recursive is for manifests, not for --live",
		"migrate -f a --all":                      "--all needs --live",
		"migrate -f a --dry-run=client":           "--dry-run needs --live",
		"migrate -f a --timeout 1s":               "--timeout needs --live",
		"migrate -f a -o wide":                    "-o wide: must be yaml or json",
		"migrate --live pod/demo":                 `"pod/demo" is not a Rollout: write NAME or rollout/NAME`,
		"migrate --live demo --dry-run=all":       `invalid argument "all" for "--dry-run" flag: must be none, client or server`,
		"migrate --live rollouts.argoproj.io/":    `"rollouts.argoproj.io/" is not a Rollout: write NAME or rollout/NAME`,
		"migrate --live deployments.argoproj.io/": `"deployments.argoproj.io/" is not a Rollout: write NAME or rollout/NAME`,
	} {
		newBench().expect(t, line, 1, "", "error: "+want+"\nSee 'kubectl sluice migrate --help' for usage.")
	}
}

func TestMigrateCompletesNamesOfArgos(t *testing.T) {
	m := newMigrationBench(t, asItIs)
	for line, want := range map[string]string{
		"__complete migrate --live ":           "demo\n:4\n",
		"__complete migrate --live demo ":      ":4\n",
		"__complete migrate ":                  ":4\n",
		"__complete migrate --output ":         "yaml\njson\n:4\n",
		"__complete migrate --live --dry-run ": "none\nclient\nserver\n:4\n",
	} {
		m.out.b.Reset()
		args := append(strings.Fields(line), "")
		if code := m.run(t.Context(), genericclioptions.NewConfigFlags(false), args); code != 0 || m.out.String() != want {
			t.Errorf("%s: exit code %d, offered %q, want %q", line, code, m.out, want)
		}
	}
}
