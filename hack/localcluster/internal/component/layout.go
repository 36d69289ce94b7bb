// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package component defines what the local control plane is made of: the programs, their arguments,
// the files and ports that they use, and their configuration files. It is pure: it starts nothing,
// reads nothing and imports no client.
package component

import (
	"fmt"
	"path/filepath"
)

// The names of the components, which are also those of their ports, logs and data folders.
const (
	Etcd              = "etcd"
	KubeAPIServer     = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kwok              = "kwok"
	Sluice            = "sluice-apiserver"
	SluiceReplica     = "sluice-apiserver-2"
	SluiceEtcd        = "sluice-etcd"
	SluiceBalancer    = "sluice-balancer"
	// The following exist where the node is real.
	Sandbox    = "sandbox"
	Relay      = "relay"
	Containerd = "containerd"
	Kubelet    = "kubelet"
	KubeProxy  = "kube-proxy"
)

// Namespace is the namespace of Sluice in the host, ServiceAccount the identity it runs under and
// Service the name that the APIService leads to; as in artifacts/base.
const (
	Namespace      = "sluice-system"
	ServiceAccount = "sluice-apiserver"
	Service        = "sluice-apiserver"
)

// SluiceMode says how Sluice is part of the control plane.
type SluiceMode string

const (
	// NoSluice is a host cluster only.
	NoSluice SluiceMode = "none"
	// EmbeddedEtcd is one Sluice server with its etcd inside, as shipped in artifacts/overlays/embedded.
	EmbeddedEtcd SluiceMode = "embedded"
	// InCluster is Sluice as users install it, by artifacts/overlays/embedded: a pod, which needs a real node.
	InCluster SluiceMode = "in-cluster"
	// ExternalEtcd gives Sluice an etcd process, so that a second server can be started beside the
	// first; a balancer in front of both plays the Service.
	ExternalEtcd SluiceMode = "external"
)

// Layout is where everything of one control plane lies.
type Layout struct {
	// Dir is the folder of this control plane, BinDir that of the binaries, Repository the source tree
	// that the artifacts are read from. All absolute.
	Dir, BinDir, Repository string
	// Host is the minor version of Kubernetes that the host has, HostDir the folder below BinDir in which
	// kube-apiserver, kube-controller-manager, kube-scheduler and kubectl are of it; empty for BinDir itself.
	Host, HostDir string
	// Ports are the ports on 127.0.0.1 by their names.
	Ports map[string]int
	// Mode says how Sluice is part of it.
	Mode SluiceMode
	// Real gives it one real node, in a sandbox with all components but the relay, instead of fake ones.
	Real bool
}

// PKI is the path of a key, certificate or kubeconfig of a component.
func (l Layout) PKI(file string) string { return filepath.Join(l.Dir, "pki", file) }

// Config is the path of a generated configuration file.
func (l Layout) Config(file string) string { return filepath.Join(l.Dir, "config", file) }

// Kubeconfig is the path of the administrator's kubeconfig, made for people and tests.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Dir, "kubeconfig") }

// SluiceKubeconfig is the path of the kubeconfig that Sluice reaches the host with: the token of its
// ServiceAccount, nothing more.
func (l Layout) SluiceKubeconfig() string { return l.PKI(Sluice + ".kubeconfig") }

// Log is the path of a component's log.
func (l Layout) Log(name string) string { return filepath.Join(l.Dir, "log", name+".log") }

// HostBinary is the path of a program that is of the version of the host.
func (l Layout) HostBinary(name string) string { return filepath.Join(l.BinDir, l.HostDir, name) }

// Data is the path of a component's data folder. A control plane with a real node has a store of its own:
// the nodes in the other one are not there. So has one with an older host, which need not be able to read what a
// newer one has stored.
func (l Layout) Data(name string) string {
	if l.Real {
		return filepath.Join(l.Dir, "data", "real", name)
	}
	return filepath.Join(l.Dir, "data", l.HostDir, name)
}

// Address is the host and port that the named port stands for.
func (l Layout) Address(port string) string { return fmt.Sprintf("127.0.0.1:%d", l.Ports[port]) }

// Server is where clients on this machine reach the API server.
func (l Layout) Server() string {
	if l.Real {
		return "https://" + l.Address(Relay)
	}
	return "https://" + l.Address(KubeAPIServer)
}

// Folders are the folders that must exist before anything is started.
func (l Layout) Folders() []string {
	return []string{filepath.Join(l.Dir, "pki"), filepath.Join(l.Dir, "config"), filepath.Join(l.Dir, "log"),
		filepath.Join(l.Dir, "data"), filepath.Join(l.Dir, "run")}
}

// ServicePort is the name of the port that the Service of Sluice leads to.
func (l Layout) ServicePort() string {
	if l.Mode == ExternalEtcd {
		return SluiceBalancer
	}
	return Sluice
}
