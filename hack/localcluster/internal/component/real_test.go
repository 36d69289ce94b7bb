// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func realLayout(mode SluiceMode) Layout {
	l := layout(mode)
	l.Real = true
	for i, name := range l.PortNames() {
		l.Ports[name] = 21001 + i
	}
	return l
}

func TestARealNodeHasAllInItsSandboxButTheRelay(t *testing.T) {
	l := realLayout(InCluster)
	want := []string{Sandbox, Etcd, Containerd, KubeAPIServer, ControllerManager, Scheduler, Kubelet, KubeProxy, Relay}
	if got := names(l.Components()); !slices.Equal(got, want) {
		t.Errorf("components are %q; want %q", got, want)
	}
	for _, c := range l.Components() {
		if c.Inside != (c.Name != Relay) {
			t.Errorf("%s is inside: %v", c.Name, c.Inside)
		}
		if c.Inside && c.Name != Sandbox && (c.Args[0] != "enter" || c.Args[2] != "--" || c.Args[3] != "/srv/bin/"+c.Name) {
			t.Errorf("%s does not enter the sandbox: %q", c.Name, c.Args)
		}
		if c.Name == Relay && !slices.Contains(c.Args, "--listen="+l.Address(Relay)) || !strings.Contains(c.URL, "://127.0.0.1:") {
			t.Errorf("%s is at %s: %q", c.Name, c.URL, c.Args)
		}
	}
	if l.Server() != "https://"+l.Address(Relay) || layout(NoSluice).Server() != "https://"+layout(NoSluice).Address(KubeAPIServer) {
		t.Errorf("clients outside reach the API server at %s", l.Server())
	}
}

func TestARealNodeKeepsItsDataToItself(t *testing.T) {
	l := realLayout(InCluster)
	if l.Data(Etcd) == layout(NoSluice).Data(Etcd) {
		t.Error("the etcd of a control plane with fake nodes would have a real one")
	}
	for _, folder := range l.EphemeralData() {
		if strings.HasPrefix(l.Volume(1), folder) || filepath.Dir(folder) != filepath.Dir(l.Data(Etcd)) {
			t.Errorf("%s is forgotten by the node", folder)
		}
	}
}

func TestFilesOfARealNode(t *testing.T) {
	l := realLayout(InCluster)
	files := l.Files("../artifacts")
	for _, row := range []struct {
		rule, file string
		has        []string
	}{
		{"containerd takes its programs and its image from here", containerdFile, []string{`BinaryName = "/srv/bin/runc"`, `runtime_path = "/srv/bin/containerd-shim-runc-v2"`, `sandbox = "sluice.dev/pause:1"`, `bin_dirs = ["/srv/bin/cni"]`}},
		{"the kubelet keeps everything in its folders", kubeletFile, []string{`podLogsDir: "/srv/plane/log/pods"`, `volumePluginDir: "/srv/plane/data/real/kubelet/volume-plugins"`}},
		{"addresses of pods are recorded in the folder of the node", cniFile, []string{`"dataDir": "/srv/plane/data/real/cni"`}},
		{"a change of endpoints is in the rules at once", kubeProxyFile, []string{"minSyncPeriod: 0s", "mode: nftables"}},
		{"there is a default class of volumes", AddonsFile, []string{"is-default-class", "/srv/plane/data/real/volumes/8", "sluice.dev/coredns:1"}},
		{"Sluice is installed by the overlay that ships", "artifacts/kustomization.yaml", []string{"- ../artifacts/overlays/embedded"}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			for _, want := range row.has {
				if !strings.Contains(files[row.file], want) {
					t.Errorf("%s lacks %q:\n%s", row.file, want, files[row.file])
				}
			}
		})
	}
	for _, file := range []string{kubeletFile, kubeProxyFile} {
		if err := yaml.UnmarshalStrict([]byte(files[file]), &map[string]any{}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for i, document := range strings.Split(files[AddonsFile], "\n---\n") {
		var object struct{ Kind, APIVersion string }
		if err := yaml.Unmarshal([]byte(document), &object); err != nil || object.Kind == "" || object.APIVersion == "" {
			t.Errorf("addon %d: %v\n%s", i, err, document)
		}
	}
	if _, exists := files[kwokFile]; exists {
		t.Error("kwok plays no node here")
	}
}
