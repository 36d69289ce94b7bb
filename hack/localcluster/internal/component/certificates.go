// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"sluice.dev/sluice/hack/localcluster/internal/pki"
	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
)

// The authorities of the control plane. They are three, because each of them is trusted for something
// else: to be a user of the cluster, to speak for any user, to read and write the stores.
const (
	ClusterAuthority    = "ca"
	FrontProxyAuthority = "front-proxy-ca"
	EtcdAuthority       = "etcd-ca"
	// ServiceAccountKey signs the tokens of ServiceAccounts.
	ServiceAccountKey = "sa"
	// kubeletServer is the name of the certificate that the kubelet shows.
	kubeletServer = "kubelet-server"
)

// loopback are the names by which a server on this machine is reached.
var loopback = []string{"localhost", "127.0.0.1", "::1"}

// Certificates are the certificates to issue, by the name of the authority.
func Certificates() map[string][]pki.Leaf {
	return map[string][]pki.Leaf{
		ClusterAuthority: append(users(), pki.Leaf{
			Name: "apiserver", CommonName: "kube-apiserver",
			// The names that pods would use, and the first address of the range of Services.
			Hosts: append([]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local", "10.96.0.1", sandbox.NodeAddress}, loopback...),
		}, pki.Leaf{Name: kubeletServer, CommonName: NodeName, Hosts: []string{NodeName, sandbox.NodeAddress}}),
		FrontProxyAuthority: {{Name: "front-proxy-client", CommonName: "front-proxy-client"}},
		EtcdAuthority: {
			{Name: "etcd", CommonName: "etcd", Hosts: loopback},
			{Name: "etcd-client", CommonName: "etcd-client"},
		},
	}
}

// Admin is the name of the administrator's certificate.
const Admin = "admin"

// users are those who reach the host with a client certificate. Sluice is not one of them: it has a
// token of its ServiceAccount.
func users() []pki.Leaf {
	return []pki.Leaf{
		{Name: Admin, CommonName: "kubernetes-admin", Groups: []string{"system:masters"}},
		{Name: ControllerManager, CommonName: "system:kube-controller-manager"},
		{Name: Scheduler, CommonName: "system:kube-scheduler"},
		// The names by which the rules of Kubernetes know a node and its proxy.
		{Name: Kubelet, CommonName: "system:node:" + NodeName, Groups: []string{"system:nodes"}},
		{Name: KubeProxy, CommonName: "system:kube-proxy"},
		// kwok plays every node, which no role of Kubernetes is made for.
		{Name: Kwok, CommonName: "kwok", Groups: []string{"system:masters"}},
	}
}

// Users are the names of the client certificates of the cluster, for each of which there is a kubeconfig.
func Users() []string {
	var names []string
	for _, user := range users() {
		names = append(names, user.Name)
	}
	return names
}
