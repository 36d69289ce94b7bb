// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	// rulesPath are the alerts, in the source tree.
	rulesPath = "artifacts/monitoring/rules.yaml"
	// operatorPath are the same for the Prometheus operator.
	operatorPath = "artifacts/monitoring/prometheusrule.yaml"
)

// ruleFile is what Prometheus reads.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// rule is an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rules are those of all groups.
func (f ruleFile) rules() (all []rule) {
	for _, group := range f.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func readRules(root string) (f ruleFile, err error) {
	content, err := os.ReadFile(filepath.Join(root, rulesPath))
	if err != nil {
		return f, err
	}
	return f, yaml.UnmarshalStrict(content, &f)
}

// operatorRules are the alerts as an object of the Prometheus operator, with what has it scrape the server.
func operatorRules(root string) (string, error) {
	content, err := os.ReadFile(filepath.Join(root, rulesPath))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(operatorPreface)
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString("  " + line)
		}
	}
	return b.String(), nil
}

const operatorPreface = `# Written by "make metrics" from rules.yaml. Do not edit.
#
# For the Prometheus operator: what has it scrape the server, and the alerts. The ServiceAccount of your Prometheus
# needs the ClusterRole sluice-metrics-reader. If your Prometheus selects monitors and rules by label, add that.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: sluice-apiserver
  namespace: sluice-system
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: sluice
  endpoints:
  - port: https
    scheme: https
    bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
    tlsConfig:
      serverName: sluice-apiserver.sluice-system.svc
      ca:
        secret:
          name: sluice-apiserver-serving
          key: ca.crt
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sluice-apiserver
  namespace: sluice-system
spec:
`
