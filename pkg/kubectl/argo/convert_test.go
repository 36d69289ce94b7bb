// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argo

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// parse reads a Rollout of Argo's with what every one of them has, and a spec besides.
func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: object}
}

const head = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: demo}
spec:
  selector: {matchLabels: {app: demo}}
  template:
    metadata: {labels: {app: demo}}
    spec: {containers: [{name: app, image: "app:1"}]}
`

// carried are the fields of reference sections 1.1, 1.2, 1.3 and 1.5 that Sluice serves, with values that would
// look different if anything but the text of the manifest were carried.
var carried = map[string]string{
	"spec": head + `  replicas: 5
  minReadySeconds: 0
  revisionHistoryLimit: 2
  paused: false
  progressDeadlineSeconds: 120
  progressDeadlineAbort: true
  restartAt: "2026-01-02T03:04:05Z"
  rollbackWindow: {revisions: 3}
  strategy: {canary: {}}
`,
	"canary": head + `  strategy:
    canary:
      canaryService: demo-canary
      stableService: demo-stable
      maxSurge: "10%"
      maxUnavailable: 0
      antiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: {weight: 100}}
      canaryMetadata: {labels: {role: canary}, annotations: {a: b}}
      stableMetadata: {labels: {role: stable}}
      replicaProgressThreshold: {type: Percent, value: 80}
      steps:
      - setWeight: 20
      - pause: {}
      - pause: {duration: 10}
      - pause: {duration: "600"}
      - pause: {duration: 1h30m}
      - setWeight: 100
`,
	"required anti-affinity": head + `  strategy:
    canary:
      antiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {}}
`,
	"blueGreen": head + `  strategy:
    blueGreen:
      activeService: demo-active
      previewService: demo-preview
      previewReplicaCount: 1
      autoPromotionEnabled: false
      autoPromotionSeconds: 30
      maxUnavailable: 1
      scaleDownDelaySeconds: 60
      scaleDownDelayRevisionLimit: 2
      abortScaleDownDelaySeconds: 0
      antiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {}}
      previewMetadata: {labels: {role: preview}}
      activeMetadata: {annotations: {role: active}}
`,
	"the inside of pods": `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: demo
  namespace: shop
  labels: {team: a}
  annotations: {example.com/note: "kept", argocd.argoproj.io/sync-wave: "2"}
  finalizers: [example.com/hold]
spec:
  selector: {matchExpressions: [{key: app, operator: In, values: [demo]}]}
  strategy: {canary: {}}
  template:
    metadata: {labels: {app: demo}, annotations: {"": ""}, creationTimestamp: null}
    spec:
      containers:
      - name: app
        image: app:1
        resources: {requests: {cpu: 0.50, memory: "1073741824"}, limits: {}}
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {port: http, path: /}}
      volumes: [{name: cache, emptyDir: {sizeLimit: 1G}}]
`,
}

func TestWhatIsServedIsCarriedAsItIsWritten(t *testing.T) {
	for name, text := range carried {
		t.Run(name, func(t *testing.T) {
			in := parse(t, text)
			c := Convert(in)
			if len(c.Losses) > 0 || len(c.Problems) > 0 {
				t.Errorf("lost %v, problems %v", c.Losses, c.Problems)
			}
			in.SetAPIVersion("sluice.dev/v1alpha1")
			want, got := marshal(t, in), marshal(t, c.Rollout)
			if want != got {
				t.Errorf("printed\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func marshal(t *testing.T, object *unstructured.Unstructured) string {
	t.Helper()
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWhatIsNotServedIsNamed has every field of reference sections 1.1 to 1.5 that Sluice does not serve.
func TestWhatIsNotServedIsNamed(t *testing.T) {
	for _, test := range []struct {
		rule, text string
		paths      []string
		steps      int // that are left
		loses      bool
	}{
		{"fields beside the strategy", head + `  analysis: {successfulRunHistoryLimit: 1}
  strategy: {canary: {}}
`, []string{"spec.analysis"}, 0, false},
		{"fields of canary", head + `  strategy:
    canary:
      trafficRouting: {nginx: {stableIngress: demo}, managedRoutes: [{name: a}]}
      analysis: {templates: [{templateName: a}], startingStep: 2}
      scaleDownDelaySeconds: 30
      scaleDownDelayRevisionLimit: 1
      abortScaleDownDelaySeconds: 0
      dynamicStableScale: false
      pingPong: {pingService: a, pongService: b}
      minPodsPerReplicaSet: 2
      stableService: demo
`, []string{
			"spec.strategy.canary.abortScaleDownDelaySeconds", "spec.strategy.canary.analysis", "spec.strategy.canary.dynamicStableScale",
			"spec.strategy.canary.minPodsPerReplicaSet", "spec.strategy.canary.pingPong", "spec.strategy.canary.scaleDownDelayRevisionLimit",
			"spec.strategy.canary.scaleDownDelaySeconds", "spec.strategy.canary.trafficRouting",
		}, 0, false},
		{"steps", head + `  strategy:
    canary:
      steps:
      - analysis: {templates: [{templateName: a}]}
      - setWeight: 20
      - experiment: {duration: 1h, templates: [{name: a, specRef: canary}]}
      - setCanaryScale: {replicas: 1}
      - setCanaryScale: {matchTrafficWeight: true}
      - setHeaderRoute: {name: a, match: [{headerName: a, headerValue: {exact: b}}]}
      - pause: {}
      - setMirrorRoute: {name: a, percentage: 10}
      - plugin: {name: a, config: {b: c}}
`, []string{
			"spec.strategy.canary.steps[0].analysis", "spec.strategy.canary.steps[2].experiment", "spec.strategy.canary.steps[3].setCanaryScale",
			"spec.strategy.canary.steps[4].setCanaryScale", "spec.strategy.canary.steps[5].setHeaderRoute", "spec.strategy.canary.steps[7].setMirrorRoute",
			"spec.strategy.canary.steps[8].plugin",
		}, 2, true},
		{"fields of blueGreen", head + `  strategy:
    blueGreen:
      activeService: demo
      prePromotionAnalysis: {templates: [{templateName: a}]}
      postPromotionAnalysis: {templates: [{templateName: a}]}
`, []string{"spec.strategy.blueGreen.postPromotionAnalysis", "spec.strategy.blueGreen.prePromotionAnalysis"}, 0, false},
		{"what nobody knows, at any depth", strings.Replace(head, "name: app,", "name: app, livenesProbe: {},", 1) + `  strategy: {canary: {maxsurge: 1, steps: [{setWeight: 20, setWieght: 30}]}}
`, []string{
			"spec.strategy.canary.maxsurge", "spec.strategy.canary.steps[0].setWieght", "spec.template.spec.containers[0].livenesProbe",
		}, 1, true},
		{"notifications", strings.Replace(head, "{name: demo}", `{name: demo, annotations: {notifications.argoproj.io/subscribe.on-rollout-completed.slack: c}}`, 1) + `  strategy: {canary: {}}
`, []string{"metadata.annotations[notifications.argoproj.io/subscribe.on-rollout-completed.slack]"}, 0, false},
		{"null says nothing", head + `  workloadRef: null
  strategy: {canary: {analysis: null, steps: [{setWeight: 5, analysis: null}]}}
`, nil, 1, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			in := parse(t, test.text)
			before := marshal(t, in)
			c := Convert(in)
			var paths []string
			for _, loss := range c.Losses {
				paths = append(paths, loss.Path)
				if loss.Why == "" {
					t.Errorf("%s: no reason is given", loss.Path)
				}
				if known := loss.Why != unknown; known == strings.Contains(test.rule, "nobody knows") {
					t.Errorf("%s: %s", loss.Path, loss.Why)
				}
			}
			if !slices.Equal(paths, test.paths) {
				t.Errorf("lost\n%s\nwant\n%s", strings.Join(paths, "\n"), strings.Join(test.paths, "\n"))
			}
			steps, _, _ := unstructured.NestedSlice(c.Rollout.Object, "spec", "strategy", "canary", "steps")
			if len(steps) != test.steps || c.LosesSteps() != test.loses {
				t.Errorf("%d steps are left, want %d; loses steps: %v", len(steps), test.steps, c.LosesSteps())
			}
			if marshal(t, in) != before {
				t.Error("what was read was changed")
			}
			// The rest is served, and valid.
			if again := prune(c.Rollout.DeepCopy().Object, rolloutType, nil); len(again) > 0 || len(c.Problems) > 0 {
				t.Errorf("left over: %v; problems: %v", again, c.Problems)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	c := Convert(parse(t, `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: demo
  uid: a
  resourceVersion: "1"
  generation: 2
  creationTimestamp: "2026-01-02T03:04:05Z"
  managedFields: [{manager: a}]
  labels: {argo-rollouts.argoproj.io/controller-instance-id: a}
  annotations:
    rollout.argoproj.io/revision: "7"
    rollout.argoproj.io/workload-generation: "7"
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    example.com/note: kept
status: {phase: Healthy}
`))
	if got, want := marshal(t, c.Rollout), "apiVersion: sluice.dev/v1alpha1\nkind: Rollout\nmetadata:\n  annotations:\n    example.com/note: kept\n  name: demo\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(c.Losses) > 0 {
		t.Errorf("there is nothing to say of it: %v", c.Losses)
	}
}

func TestValuesThatAreRefusedAreNamed(t *testing.T) {
	for _, test := range []struct{ rule, text, want string }{
		{"a value out of range", head + "  strategy: {canary: {steps: [{setWeight: 150}]}}\n", "spec.strategy.canary.steps[0].setWeight: "},
		{"a value of the wrong type", head + "  replicas: many\n  strategy: {canary: {}}\n", "replicas"},
		{"a step of nothing, as it was written", head + "  strategy: {canary: {steps: [{}]}}\n", "spec.strategy.canary.steps[0]: "},
		{"no strategy", head, "spec.strategy: "},
		{"both strategies", head + "  strategy: {canary: {}, blueGreen: {activeService: a}}\n", "spec.strategy: "},
		{"a template elsewhere", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec: {workloadRef: {apiVersion: apps/v1, kind: StatefulSet, name: a}, strategy: {canary: {}}}\n", "spec.workloadRef.kind: "},
	} {
		t.Run(test.rule, func(t *testing.T) {
			c := Convert(parse(t, test.text))
			if len(c.Problems) != 1 || !strings.Contains(c.Problems[0], test.want) {
				t.Errorf("problems %q, want one with %q", c.Problems, test.want)
			}
		})
	}
}
