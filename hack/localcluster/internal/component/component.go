// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"fmt"
	"path/filepath"

	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
)

// Component is a program of the control plane, as it is to be started.
type Component struct {
	// Name is the name by which the launcher's commands know it.
	Name string `json:"name"`
	// Path is its executable, Args are its arguments.
	Path string   `json:"path"`
	Args []string `json:"args"`
	// PortNames are the names of the ports that it listens on; the first is the one that clients use.
	PortNames []string `json:"-"`
	// URL is where clients reach it, Health what answers 200 as soon as it is ready.
	URL    string `json:"url"`
	Health string `json:"health"`
	// DataDir is where it keeps its data; empty if it has none.
	DataDir string `json:"dataDir,omitempty"`
	// Log is where its output goes.
	Log string `json:"log"`
	// Inside is true if it runs in the sandbox, where its URLs are answered only.
	Inside bool `json:"inside,omitempty"`
}

// PortNames are the names of all ports that the control plane needs.
func (l Layout) PortNames() []string {
	var names []string
	for _, c := range l.Components() {
		names = append(names, c.PortNames...)
	}
	return names
}

// Components are all components, in the order in which they can be started.
func (l Layout) Components() []Component {
	if l.Real {
		return l.realComponents()
	}
	all := []Component{l.etcd(Etcd, "--unsafe-no-fsync"), l.apiServer()}
	switch l.Mode {
	case EmbeddedEtcd:
		all = append(all, l.sluice(Sluice))
	case ExternalEtcd:
		all = append(all, l.etcd(SluiceEtcd), l.sluice(Sluice), l.sluice(SluiceReplica), l.balancer())
	}
	return append(all, l.controllerManager(), l.scheduler(), l.kwok())
}

// Component returns the component with this name.
func (l Layout) Component(name string) (Component, error) {
	for _, c := range l.Components() {
		if c.Name == name {
			return c, nil
		}
	}
	return Component{}, fmt.Errorf("this control plane has no component %q", name)
}

// hostComponent is a component that is of the version of the host.
func (l Layout) hostComponent(name, health string, args ...string) Component {
	c := l.component(name, "https", health, args...)
	c.Path = l.HostBinary(name)
	return c
}

func (l Layout) component(name, scheme, health string, args ...string) Component {
	return Component{
		Name: name, Path: filepath.Join(l.BinDir, name), Args: args, PortNames: []string{name},
		URL: scheme + "://" + l.Address(name), Health: scheme + "://" + l.Address(name) + health, Log: l.Log(name),
	}
}

// etcd speaks TLS to clients that have a certificate of its own authority only: the loopback interface
// is open to every user of the machine. Its health and metrics are on a port without it.
func (l Layout) etcd(name string, extra ...string) Component {
	client, peer, metrics := "https://"+l.Address(name), "https://"+l.Address(name+"-peer"), "http://"+l.Address(name+"-metrics")
	c := l.component(name, "https", "", append([]string{
		"--name=" + name,
		"--data-dir=" + l.Data(name),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + name + "=" + peer,
		"--listen-metrics-urls=" + metrics,
		"--client-cert-auth",
		"--trusted-ca-file=" + l.PKI("etcd-ca.crt"),
		"--cert-file=" + l.PKI("etcd.crt"),
		"--key-file=" + l.PKI("etcd.key"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + l.PKI("etcd-ca.crt"),
		"--peer-cert-file=" + l.PKI("etcd.crt"),
		"--peer-key-file=" + l.PKI("etcd.key"),
		"--quota-backend-bytes=4294967296",
		"--watch-progress-notify-interval=5s",
		"--log-level=warn",
	}, extra...)...)
	c.Path = filepath.Join(l.BinDir, Etcd)
	c.PortNames = append(c.PortNames, name+"-peer", name+"-metrics")
	c.Health = metrics + "/health"
	c.DataDir = l.Data(name)
	return c
}

func (l Layout) etcdClient(name string) []string {
	return []string{
		"--etcd-servers=https://" + l.Address(name),
		"--etcd-cafile=" + l.PKI("etcd-ca.crt"),
		"--etcd-certfile=" + l.PKI("etcd-client.crt"),
		"--etcd-keyfile=" + l.PKI("etcd-client.key"),
	}
}

func (l Layout) apiServer() Component {
	args := append(l.etcdClient(Etcd),
		fmt.Sprintf("--secure-port=%d", l.Ports[KubeAPIServer]),
		"--tls-cert-file="+l.PKI("apiserver.crt"),
		"--tls-private-key-file="+l.PKI("apiserver.key"),
		"--client-ca-file="+l.PKI("ca.crt"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+l.PKI("sa.key"),
		"--service-account-signing-key-file="+l.PKI("sa.key"),
		"--requestheader-client-ca-file="+l.PKI("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file="+l.PKI("front-proxy-client.crt"),
		"--proxy-client-key-file="+l.PKI("front-proxy-client.key"),
		// Otherwise open watches hold up the end of the server for a minute.
		"--shutdown-send-retry-after",
		"--shutdown-watch-termination-grace-period=1s",
		"--profiling=false",
		"--audit-policy-file="+l.Config(auditFile),
		"--audit-log-path="+filepath.Join(l.Dir, "log", KubeAPIServer+"-audit.log"),
		// Of 100 MB each, beside the one that is written.
		"--audit-log-maxbackup=5",
	)
	return l.hostComponent(KubeAPIServer, "/readyz", append(args, l.apiServerPlace()...)...)
}

// ownerReferences is an admission plugin that is off by default in Kubernetes; it is on here, so that the tests
// show that our own rights suffice under it.
const ownerReferences = "OwnerReferencesPermissionEnforcement"

// apiServerPlace is where the API server listens, and for whom.
func (l Layout) apiServerPlace() []string {
	if l.Real {
		return []string{
			"--bind-address=0.0.0.0",
			"--advertise-address=" + sandbox.NodeAddress,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction," + ownerReferences,
			"--allow-privileged",
			"--kubelet-client-certificate=" + l.PKI(Admin+".crt"),
			"--kubelet-client-key=" + l.PKI(Admin+".key"),
			"--kubelet-certificate-authority=" + l.PKI("ca.crt"),
			"--kubelet-preferred-address-types=InternalIP",
		}
	}
	return []string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--authorization-mode=RBAC",
		"--enable-admission-plugins=" + ownerReferences,
		// The "kubernetes" Service needs no endpoints here, and they may not be loopback addresses.
		"--endpoint-reconciler-type=none",
	}
}

func (l Layout) controllerManager() Component {
	kubeconfig := l.PKI(ControllerManager + ".kubeconfig")
	args := []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", l.Ports[ControllerManager]),
		"--leader-elect=false",
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + l.PKI("sa.key"),
		"--root-ca-file=" + l.PKI("ca.crt"),
		// What is measured on this control plane is the work, not the client's own throttle.
		"--kube-api-qps=5000",
		"--kube-api-burst=10000",
		"--horizontal-pod-autoscaler-sync-period=2s",
	}
	if !l.Real {
		// The nodes are fake and share the machine with everything else: late is not gone.
		args = append(args, "--node-monitor-grace-period=1h")
	}
	return l.hostComponent(ControllerManager, "/healthz", args...)
}

func (l Layout) scheduler() Component {
	kubeconfig := l.PKI(Scheduler + ".kubeconfig")
	return l.hostComponent(Scheduler, "/healthz",
		"--config="+l.Config(schedulerFile),
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", l.Ports[Scheduler]),
	)
}

func (l Layout) kwok() Component {
	return l.component(Kwok, "http", "/healthz",
		"--kubeconfig="+l.PKI(Kwok+".kubeconfig"),
		"--config="+l.Config(kwokFile),
		"--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector="+NodeAnnotation+"="+NodeAnnotationValue,
		"--cidr=10.0.0.1/8",
		"--node-ip=127.0.0.1",
		"--node-lease-duration-seconds=40",
		"--server-address="+l.Address(Kwok),
		"--v=WARN",
	)
}

func (l Layout) sluice(name string) Component {
	args := []string{
		"--kubeconfig=" + l.SluiceKubeconfig(),
		"--namespace=" + Namespace,
		"--service-name=" + Service,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", l.Ports[name]),
		"--audit-log-path=" + filepath.Join(l.Dir, "log", name+"-audit.log"),
	}
	dataDir := ""
	if l.Mode == ExternalEtcd {
		args = append(args, l.etcdClient(SluiceEtcd)...)
	} else {
		dataDir = l.Data(name)
		args = append(args, "--data-dir="+dataDir, "--snapshot-dir="+filepath.Join(l.Dir, "snapshots", name))
	}
	c := l.component(name, "https", "/readyz", args...)
	c.Path = filepath.Join(l.BinDir, Sluice)
	c.DataDir = dataDir
	return c
}

func (l Layout) balancer() Component {
	c := l.component(SluiceBalancer, "https", "/readyz",
		"balance",
		"--listen="+l.Address(SluiceBalancer),
		"--backend="+l.Address(Sluice),
		"--backend="+l.Address(SluiceReplica),
	)
	c.Path = filepath.Join(l.BinDir, "localcluster")
	return c
}
