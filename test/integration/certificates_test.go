// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"

	"sluice.dev/sluice/pkg/cmd/server"
	"sluice.dev/sluice/pkg/generated/clientset/versioned"
)

var leafLifetime = flag.Duration("certificates.lifetime", 15*time.Second,
	"how long the serving certificates are valid that are replaced under load; their authorities live one and a half times as long")

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

const apiServiceName = "v1alpha1.sluice.dev"

// register makes the host lead the group to a port of this machine, until the test ends. The garbage collector must not
// remember the group then: it would take the 404 of a host that no longer serves it for the word that every Rollout is
// gone, and delete the ReplicaSets of the tests that follow.
func register(t *testing.T, namespace string, port int) {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: server.DefaultServiceName},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost", Ports: []corev1.ServicePort{{Port: int32(port)}}},
	}
	if _, err := host.Host.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	registered := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": apiServiceName},
		"spec": map[string]any{
			"group": "sluice.dev", "version": "v1alpha1", "groupPriorityMinimum": int64(900), "versionPriority": int64(15),
			"service": map[string]any{"namespace": namespace, "name": service.Name, "port": int64(port)},
		},
	}}
	if _, err := host.Dynamic.Resource(apiServices).Create(t.Context(), registered, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := host.Stop(ctx, "kube-controller-manager"); err != nil {
			t.Error(err)
		}
		if err := host.Dynamic.Resource(apiServices).Delete(ctx, apiServiceName, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := host.Start(ctx, "kube-controller-manager"); err != nil {
			t.Error(err)
		}
	})
}

// caBundle is what kube-apiserver is told to trust.
func caBundle(ctx context.Context) ([]byte, error) {
	registered, err := host.Dynamic.Resource(apiServices).Get(ctx, apiServiceName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	encoded, _, err := unstructured.NestedString(registered.Object, "spec", "caBundle")
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(encoded)
}

// served is the certificate that a new connection is shown, by whoever trusts the authorities; nil trusts any.
func served(ctx context.Context, address string, authorities []byte, name string) (*x509.Certificate, error) {
	config := &tls.Config{ServerName: name, InsecureSkipVerify: authorities == nil}
	if authorities != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(authorities)
	}
	connection, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// changes counts the different values that something has had.
type changes map[[sha256.Size]byte]bool

func (c changes) see(value []byte) { c[sha256.Sum256(value)] = true }

// Certificates are replaced before they expire, and their authority too, and no request fails: neither of those who
// come through kube-apiserver nor of those who connect anew with the authorities that they were told of a moment ago.
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	namespace := newNamespace(t)
	lifetimes := server.CertificateLifetimes{Leaf: *leafLifetime, CA: *leafLifetime * 3 / 2}
	address := start(t, namespace, t.TempDir(), func(o *server.Options) {
		o.Certificates = lifetimes
		register(t, namespace, o.Recommended.SecureServing.BindPort)
	}).address
	through := awaitAggregated(t)

	ctx, cancel := context.WithCancel(t.Context())
	var requests, failed atomic.Int64
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			wait.UntilWithContext(ctx, func(ctx context.Context) {
				_, err := through.SluiceV1alpha1().Rollouts(namespace).List(ctx, metav1.ListOptions{})
				if ctx.Err() != nil {
					return
				}
				if requests.Add(1); err != nil {
					failed.Add(1)
					t.Errorf("through kube-apiserver: %v", err)
				}
			}, 5*time.Millisecond)
		})
	}
	// Two authorities have to go, and what the last one signed has to be served.
	leaves, authorities := changes{}, changes{}
	name := server.DefaultServiceName + "." + namespace + ".svc"
	trusted, err := caBundle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	connections := 0
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 10*lifetimes.Leaf+time.Minute, true, func(ctx context.Context) (bool, error) {
		now, err := caBundle(ctx)
		if err != nil {
			return false, err
		}
		leaf, err := served(ctx, address, trusted, name)
		if err != nil {
			return false, fmt.Errorf("a new connection: %w", err)
		}
		connections++
		trusted = now
		leaves.see(leaf.Raw)
		parsed, err := cert.ParseCertsPEM(now)
		if err != nil {
			return false, err
		}
		authorities.see(parsed[0].Raw)
		return len(authorities) >= 3 && leaf.CheckSignatureFrom(parsed[0]) == nil, nil
	})
	cancel()
	load.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests through kube-apiserver, %d failed; %d new connections; %d certificates by %d authorities",
		requests.Load(), failed.Load(), connections, len(leaves), len(authorities))
	if requests.Load() < 100 || len(leaves) < 4 {
		t.Errorf("%d requests and %d certificates show nothing", requests.Load(), len(leaves))
	}
}

// awaitAggregated is a client by way of the host, once that serves the group.
func awaitAggregated(t *testing.T) versioned.Interface {
	t.Helper()
	client, err := versioned.NewForConfig(rest.CopyConfig(host.Config))
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("the host does not serve the group: %v", err)
	}
	return client
}

// Files that are given are served anew when they change, and a half of a change is not served.
func TestCertificateFilesAreReloaded(t *testing.T) {
	namespace, dir := newNamespace(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	put := func() []byte {
		t.Helper()
		certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{certFile: certificate, keyFile: key} {
			if err := os.WriteFile(file+".new", data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		parsed, err := cert.ParseCertsPEM(certificate)
		if err != nil {
			t.Fatal(err)
		}
		return parsed[0].Raw
	}
	put()
	address := launch(t, namespace, t.TempDir(), func(o *server.Options) {
		o.Recommended.SecureServing.ServerCert.CertKey.CertFile, o.Recommended.SecureServing.ServerCert.CertKey.KeyFile = certFile, keyFile
	}).address
	for range 3 {
		want := put()
		err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			leaf, err := served(ctx, address, nil, "localhost")
			return err == nil && bytes.Equal(leaf.Raw, want), nil
		})
		if err != nil {
			t.Fatalf("the new certificate is not served: %v", err)
		}
	}
	if secrets, err := host.Host.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(secrets.Items) > 0 {
		t.Errorf("a server with files of its own makes no Secret: %v, %v", secrets.Items, err)
	}
}
