// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package pods

// template is the same for both kinds, as are replicas and bounds.
const template = `  replicas: 5
  selector: {matchLabels: {app: demo}}
  template:
    metadata: {labels: {app: demo}}
    spec:
      automountServiceAccountToken: false
      containers:
      - name: demo
        image: sluice.dev/demoapp:blue
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1, failureThreshold: 1}
`

const object = "rollouts.sluice.dev/" + name

var rollout = kind{
	manifest: `apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: demo}
spec:
  strategy: {canary: {maxSurge: 1, maxUnavailable: 0, steps: [{setWeight: 20}, {pause: {}}]}}
` + template,
	deployed: []string{"wait", object, "--for=condition=Healthy", "--timeout=2m"},
	update:   []string{"sluice", "set", "image", name, name + "=sluice.dev/demoapp:yellow"},
	updated:  []string{"wait", object, "--for=condition=Paused", "--timeout=2m"},
	goBack:   []string{"sluice", "abort", name},
	back:     []string{"wait", object, "--for=jsonpath={.status.phase}=Degraded", "--timeout=2m"},
}

var deployment = kind{
	manifest: `apiVersion: apps/v1
kind: Deployment
metadata: {name: demo}
spec:
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
` + template,
	deployed: []string{"rollout", "status", "deployment/" + name, "--timeout=2m"},
	update:   []string{"set", "image", "deployment/" + name, name + "=sluice.dev/demoapp:yellow"},
	updated:  []string{"rollout", "status", "deployment/" + name, "--timeout=2m"},
	goBack:   []string{"rollout", "undo", "deployment/" + name},
	back:     []string{"rollout", "status", "deployment/" + name, "--timeout=2m"},
}
