// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"sluice.dev/sluice/hack/localcluster/internal/component"
)

// tokenLifetime is how long the token of Sluice's ServiceAccount lasts: longer than anyone leaves a
// control plane running. Every start makes a new one.
const tokenLifetime = 30 * 24 * time.Hour

// pollInterval is how often the API server is asked for what cannot be watched in one request.
const pollInterval = 100 * time.Millisecond

// writeUserKubeconfigs writes a kubeconfig for each client certificate, the administrator's where
// people look for it.
func writeUserKubeconfigs(layout component.Layout) error {
	for _, user := range component.Users() {
		certificate, err := os.ReadFile(layout.PKI(user + ".crt"))
		if err != nil {
			return err
		}
		key, err := os.ReadFile(layout.PKI(user + ".key"))
		if err != nil {
			return err
		}
		path := layout.PKI(user + ".kubeconfig")
		if user == component.Admin {
			path = layout.Kubeconfig()
		}
		auth := &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
		server := "https://" + layout.Address(component.KubeAPIServer)
		if user == component.Admin {
			server = layout.Server()
		}
		if err := writeKubeconfig(layout, server, path, user, auth); err != nil {
			return err
		}
	}
	return nil
}

func writeKubeconfig(layout component.Layout, server, path, user string, auth *clientcmdapi.AuthInfo) error {
	authority, err := os.ReadFile(layout.PKI(component.ClusterAuthority + ".crt"))
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["sluice-local"] = &clientcmdapi.Cluster{
		Server:                   server,
		CertificateAuthorityData: authority,
	}
	config.AuthInfos[user] = auth
	config.Contexts["sluice-local"] = &clientcmdapi.Context{Cluster: "sluice-local", AuthInfo: user}
	config.CurrentContext = "sluice-local"
	return clientcmd.WriteToFile(*config, path)
}

// host is the API server of the host cluster, as the administrator sees it.
type host struct {
	layout component.Layout
	client kubernetes.Interface
}

func newHost(layout component.Layout) (*host, error) {
	config, err := clientcmd.BuildConfigFromFlags("", layout.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &host{layout: layout, client: client}, nil
}

// createNodes makes the fake nodes that kwok plays: large enough for any test.
func (h *host) createNodes(ctx context.Context, count int) error {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("1k"),
		corev1.ResourceMemory: resource.MustParse("4Ti"),
		corev1.ResourcePods:   resource.MustParse("100k"),
	}
	for i := range count {
		name := fmt.Sprintf("fake-%d", i+1)
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name:        name,
				Annotations: map[string]string{component.NodeAnnotation: component.NodeAnnotationValue},
				Labels:      map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux"},
			},
			Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
		}
		if _, err := h.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// applyArtifacts applies what is shipped, adapted to this machine by a kustomization.
func (h *host) applyArtifacts(ctx context.Context) error {
	return h.apply(ctx, "-k", h.layout.Config(component.ArtifactsFolder))
}

// apply runs kubectl apply.
func (h *host) apply(ctx context.Context, what ...string) error {
	cmd := exec.CommandContext(ctx, h.layout.HostBinary("kubectl"), append([]string{"apply", "--server-side", "--force-conflicts",
		"--kubeconfig=" + h.layout.Kubeconfig(), "--cache-dir=" + filepath.Join(h.layout.Dir, "run", "kubectl")}, what...)...)
	cmd.Env = append(os.Environ(), "KUBERC=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot apply %s: %w\n%s", what[len(what)-1], err, strings.TrimSpace(string(output)))
	}
	return nil
}

// writeSluiceKubeconfig writes the kubeconfig of Sluice: its ServiceAccount, by a token.
func (h *host) writeSluiceKubeconfig(ctx context.Context) error {
	seconds := int64(tokenLifetime / time.Second)
	token, err := h.client.CoreV1().ServiceAccounts(component.Namespace).CreateToken(ctx, component.ServiceAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("cannot get a token for ServiceAccount %s/%s: %w", component.Namespace, component.ServiceAccount, err)
	}
	auth := &clientcmdapi.AuthInfo{Token: token.Status.Token}
	return writeKubeconfig(h.layout, h.layout.Server(), h.layout.SluiceKubeconfig(), component.ServiceAccount, auth)
}

// waitServed waits until clients that know nothing but discovery find the group: the APIService is
// Available, and the API server has merged what the group serves and how it is described.
func (h *host) waitServed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	last := ""
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		last = h.missing(ctx)
		return last == "", nil
	})
	if err != nil {
		return fmt.Errorf("APIService %s is not served: %s", apiService, last)
	}
	return nil
}

// waitDefaultServiceAccount waits until pods can be created in the namespace default.
func (h *host) waitDefaultServiceAccount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		_, err := h.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}
