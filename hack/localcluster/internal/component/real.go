// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"fmt"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
)

// NodeName is the name of the real node.
const NodeName = "real"

// What the real node is configured by.
const (
	containerdFile = "containerd.toml"
	kubeletFile    = "kubelet.yaml"
	kubeProxyFile  = "kube-proxy.yaml"
	cniFile        = "cni/10-sluice.conflist"
	// AddonsFile holds what a cluster has besides a control plane: names, and volumes.
	AddonsFile = "addons.yaml"
)

// The images that every real node has.
const (
	PauseImage   = "sluice.dev/pause:1"
	CoreDNSImage = "sluice.dev/coredns:1"
	// ServerImage is the image of Sluice, as the artifacts name it.
	ServerImage = "sluice.dev/sluice-apiserver:dev"
	// NewerImage is that of another version of the server, for tests of upgrades.
	NewerImage = "sluice.dev/sluice-apiserver:newer"
	// TrafficImage is that of clients of the demo application, for tests which ask from inside a pod.
	TrafficImage = "sluice.dev/traffic:dev"
)

// ContainerdSocket is where the kubelet finds it, in the sandbox.
const ContainerdSocket = "/run/containerd/containerd.sock"

// podNetwork is the network of pods, dnsAddress the Service of CoreDNS.
const (
	podNetwork = "10.244.0.0/22"
	dnsAddress = "10.96.0.10"
)

// realComponents are those with a real node, in the order in which they can be started.
func (l Layout) realComponents() []Component {
	all := []Component{l.sandbox()}
	for _, c := range []Component{l.etcd(Etcd, "--unsafe-no-fsync"), l.containerd(), l.apiServer(), l.controllerManager(), l.scheduler(), l.kubelet(), l.kubeProxy()} {
		all = append(all, l.inside(c))
	}
	return append(all, l.relay())
}

// Launcher is the path of the program that we are.
func (l Layout) Launcher() string { return filepath.Join(l.BinDir, "localcluster") }

// inside has a component run in the sandbox.
func (l Layout) inside(c Component) Component {
	c.Args = append([]string{"enter", "--dir=" + l.Dir, "--", c.Path}, c.Args...)
	c.Path = l.Launcher()
	c.Inside = true
	return c
}

// sandbox is the first process of the real node.
func (l Layout) sandbox() Component {
	c := l.component(Sandbox, "http", "/", "sandbox", "--dir="+l.Dir, "--visible="+l.BinDir, "--host-name="+NodeName, "--health="+l.Address(Sandbox))
	c.Path, c.Inside = l.Launcher(), true
	return c
}

// relay is how the machine reaches the API server in the sandbox.
func (l Layout) relay() Component {
	c := l.component(Relay, "https", "/readyz", "balance", "--dir="+l.Dir, "--listen="+l.Address(Relay), "--backend="+l.Address(KubeAPIServer))
	c.Path = l.Launcher()
	return c
}

func (l Layout) containerd() Component {
	return l.component(Containerd, "http", "/v1/metrics", "--config="+l.Config(containerdFile))
}

func (l Layout) kubelet() Component {
	return l.component(Kubelet, "http", "/healthz",
		"--config="+l.Config(kubeletFile),
		"--kubeconfig="+l.PKI(Kubelet+".kubeconfig"),
		"--root-dir="+l.Data(Kubelet),
		"--hostname-override="+NodeName,
		"--node-ip="+sandbox.NodeAddress,
		"--tls-cert-file="+l.PKI(kubeletServer+".crt"),
		"--tls-private-key-file="+l.PKI(kubeletServer+".key"),
	)
}

func (l Layout) kubeProxy() Component {
	return l.component(KubeProxy, "http", "/healthz", "--config="+l.Config(kubeProxyFile))
}

// EphemeralData are the folders of what a node forgets when it is set up anew; its volumes are not among them.
func (l Layout) EphemeralData() []string {
	return []string{l.Data(Kubelet), l.Data(Containerd), l.Data("cni")}
}

// Volume is the folder of one of the volumes of the node.
func (l Layout) Volume(number int) string {
	return filepath.Join(l.Data("volumes"), fmt.Sprint(number))
}

// Images is the folder of the archives of images that the node gets.
func (l Layout) Images() string { return filepath.Join(l.BinDir, "images") }

// Volumes is how many there are.
const Volumes = 8

// nodeFiles are the configuration files of the real node.
func (l Layout) nodeFiles() map[string]string {
	return map[string]string{
		containerdFile: l.containerdConfig(),
		kubeletFile:    l.kubeletConfig(),
		kubeProxyFile:  l.kubeProxyConfig(),
		cniFile:        l.cniConfig(),
		AddonsFile:     strings.Join(append([]string{coreDNS()}, l.volumes()...), "\n---\n"),
	}
}

// containerdConfig does without what the kernel may lack. Nobody may lower the oom_score_adj of a container where
// root lacks the right to: the cure does no harm elsewhere.
func (l Layout) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]

[grpc]
  address = %[2]q

[metrics]
  address = %[3]q

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  disable_snapshot_annotations = true
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %[4]q

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%[5]q]
    conf_dir = %[6]q
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = %[7]q
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = %[8]q
        SystemdCgroup = false
`, l.Data(Containerd), ContainerdSocket, l.Address(Containerd), PauseImage, filepath.Join(l.BinDir, "cni"), filepath.Dir(l.Config(cniFile)),
		filepath.Join(l.BinDir, "containerd-shim-runc-v2"), filepath.Join(l.BinDir, "runc"))
}

func (l Layout) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
containerRuntimeEndpoint: unix://%[1]s
clusterDomain: cluster.local
clusterDNS: [%[2]q]
resolvConf: ""
registerNode: true
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: %[3]q}}
authorization: {mode: AlwaysAllow}
address: %[4]s
healthzPort: %[5]d
maxPods: 200
podLogsDir: %[6]q
volumePluginDir: %[7]q
evictionHard: {memory.available: 50Mi, nodefs.available: "1%%", nodefs.inodesFree: "1%%", imagefs.available: "1%%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
nodeStatusUpdateFrequency: 2s
syncFrequency: 10s
shutdownGracePeriod: 0s
`, ContainerdSocket, dnsAddress, l.PKI("ca.crt"), sandbox.NodeAddress, l.Ports[Kubelet], filepath.Join(l.Dir, "log", "pods"), filepath.Join(l.Data(Kubelet), "volume-plugins"))
}

// kubeProxyConfig has a change of endpoints in the rules within milliseconds. Limits of connection tracking are
// those of the machine, and cannot be set from here.
func (l Layout) kubeProxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %q, qps: 200, burst: 400}
hostnameOverride: %s
clusterCIDR: %s
bindAddress: 0.0.0.0
healthzBindAddress: %s
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
nftables: {minSyncPeriod: 0s, syncPeriod: 30s}
`, l.PKI(KubeProxy+".kubeconfig"), NodeName, podNetwork, l.Address(KubeProxy))
}

func (l Layout) cniConfig() string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "sluice", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`, l.Data("cni"), podNetwork)
}

// overlay is an overlay of the artifacts, unchanged.
func (l Layout) overlay(path string) string {
	return fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- %s\n", path)
}
