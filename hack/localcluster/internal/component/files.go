// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"fmt"
	"maps"
	"strings"

	nodestage "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podstage "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// The annotation of the nodes that kwok plays.
const (
	NodeAnnotation      = "kwok.x-k8s.io/node"
	NodeAnnotationValue = "fake"
)

const (
	schedulerFile = "kube-scheduler.yaml"
	kwokFile      = "kwok.yaml"
	auditFile     = "kube-apiserver-audit.yaml"
	// ArtifactsFolder is the folder, among the configuration files, of the kustomization that applies
	// artifacts/base to this control plane.
	ArtifactsFolder = "artifacts"
)

// Files are the contents of the configuration files by their path below the folder of such files.
// artifacts is the path of that folder relative to the kustomization that uses it.
func (l Layout) Files(artifacts string) map[string]string {
	files := map[string]string{schedulerFile: l.schedulerConfig(), auditFile: auditPolicy()}
	if l.Real {
		maps.Copy(files, l.nodeFiles())
	} else {
		files[kwokFile] = kwokConfig()
	}
	switch l.Mode {
	case NoSluice:
	case InCluster:
		files[ArtifactsFolder+"/kustomization.yaml"] = l.overlay(artifacts + "/overlays/embedded")
	default:
		files[ArtifactsFolder+"/kustomization.yaml"] = l.kustomization(artifacts + "/base")
	}
	return files
}

// auditPolicy has the host note what Sluice asks it for, and nothing else.
func auditPolicy() string {
	return fmt.Sprintf(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:%s:%s"]
- level: None
`, Namespace, ServiceAccount)
}

func (l Layout) schedulerConfig() string {
	return fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
clientConnection:
  kubeconfig: %q
  qps: 5000
  burst: 10000
`, l.PKI(Scheduler+".kubeconfig"))
}

// kwokConfig has pods become ready and go away at once, and nodes keep their lease. As soon as a file
// holds options, kwok knows no defaults for those that it leaves out.
func kwokConfig() string {
	return strings.Join([]string{
		`apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 4
  nodeLeaseParallelism: 4
  podsOnNodeSyncParallelism: 4
`,
		nodestage.DefaultNodeInit,
		heartbeat.DefaultNodeHeartbeatWithLease,
		podstage.DefaultPodReady,
		podstage.DefaultPodComplete,
		podstage.DefaultPodDelete,
	}, "\n---\n")
}

// kustomization is artifacts/base with one change: the server runs outside the cluster, on a port of
// this machine. EndpointSlices refuse loopback addresses, so the Service is an external name.
func (l Layout) kustomization(base string) string {
	return fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- %s
patches:
- patch: |
    apiVersion: v1
    kind: Service
    metadata:
      name: %[2]s
      namespace: %[3]s
    spec:
      $patch: replace
      type: ExternalName
      externalName: localhost
      ports:
      - name: https
        port: %[4]d
        protocol: TCP
- target:
    kind: APIService
  patch: |
    - op: replace
      path: /spec/service/port
      value: %[4]d
`, base, Service, Namespace, l.Ports[l.ServicePort()])
}
