// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"

	"sluice.dev/sluice/test/cluster"
)

const (
	// servingSecret is where cert-manager puts the certificate, by artifacts/components/cert-manager.
	servingSecret = "sluice-apiserver-tls"
	// apiService is the registration of the group.
	apiService = "v1alpha1.sluice.dev"
	// renewedWithin is how long a renewed certificate may take until all replicas serve it: the kubelet brings a changed
	// Secret into a pod with its next look at it, within a minute and a half.
	renewedWithin = 4 * time.Minute
)

var certificates = schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}

// The certificate comes from cert-manager itself: its controllers and its cainjector, of the version that
// hack/certmanager pins. Hardly anybody notices when they take over, and nobody when the certificate is renewed, nor
// when its authority is.
func TestCertManager(t *testing.T) {
	namespace := "ha-cert-manager"
	kubectl(t, "create", "namespace", namespace)
	threeReplicas(t)
	for i := range writers {
		if _, err := local.Sluice.SluiceV1alpha1().Rollouts(namespace).Create(t.Context(), newRollout(application(i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	startCertManager(t)

	folder := t.TempDir()
	artifacts, err := filepath.Rel(folder, filepath.Join(local.Repository(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf("resources: [%[1]s/overlays/ha]\ncomponents: [%[1]s/components/cert-manager]\n", artifacts)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, local.Config, namespace)
	time.Sleep(settled)
	calm := l.take()
	t.Logf("calm: %s; %.0f a second are sent from here on", calm, l.bearable(calm))

	// Pods of both kinds serve for a while. The cainjector adds its authority to that of the server, and adds it again when a
	// server that is still to be replaced looks at it, once a minute, and takes it out.
	before, began := uids(t), time.Now()
	kubectl(t, "apply", "-k", folder)
	first := secret(t, servingSecret, nil)
	ready(t, before...)
	allServe(t, first.leaf)
	until(t, local.APIService(apiService), "Available")
	takenOver := l.take()
	t.Logf("taken over by cert-manager in %v: %s", time.Since(began).Round(time.Second), takenOver)
	if takenOver.good() < 99 {
		t.Errorf("want 99 %% answered:\n%s", strings.Join(append(takenOver.failed, takenOver.late...), "\n"))
	}

	second := renewed(t, "sluice-apiserver", servingSecret)
	if !bytes.Equal(second.authority.Raw, first.authority.Raw) {
		t.Errorf("the authority is another one, and only the certificate was to be renewed")
	}
	allServe(t, second.leaf)
	t.Logf("certificate renewed: %s", unnoticed(t, l))

	renewed(t, "sluice-ca", "sluice-ca")
	third := renewed(t, "sluice-apiserver", servingSecret)
	if bytes.Equal(third.authority.Raw, first.authority.Raw) {
		t.Errorf("the authority is the same as before, and was to be renewed")
	}
	allServe(t, third.leaf)
	t.Logf("authority and certificate renewed: %s", unnoticed(t, l))

	l.stop()
	l.clients.Wait()
	l.verify(t, local.Sluice.SluiceV1alpha1().Rollouts(namespace))
}

// unnoticed takes the figures of the load, of which nothing may have failed.
func unnoticed(t *testing.T, l *load) figures {
	t.Helper()
	f := l.take()
	if f.requests == 0 {
		t.Error("nothing was asked for")
	}
	if len(f.failed) > 0 {
		t.Errorf("requests failed:\n%s", strings.Join(f.failed, "\n"))
	}
	return f
}

// until waits until a condition of an object is true.
func until(t *testing.T, object cluster.Source[*unstructured.Unstructured], condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := cluster.Await(ctx, object, cluster.Condition(condition)); err != nil {
		t.Fatal(err)
	}
}

// startCertManager installs the kinds of cert-manager, and runs it until the end of the test.
func startCertManager(t *testing.T) {
	t.Helper()
	source, err := local.ModuleSource(t.Context(), "hack/certmanager", "github.com/cert-manager/cert-manager")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"issuers", "certificates", "certificaterequests"} {
		kubectl(t, "apply", "--server-side", "-f", filepath.Join(source, "deploy", "crds", "cert-manager.io_"+kind+".yaml"))
		until(t, local.Definition(kind+".cert-manager.io"), "Established")
	}
	program := filepath.Join(t.TempDir(), "certmanager")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join(local.Repository(), "hack", "certmanager"), "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("cert-manager cannot be built: %v\n%s", err, output)
	}
	ctx, cancel := context.WithCancel(t.Context())
	process := exec.CommandContext(ctx, program, "--kubeconfig="+filepath.Join(local.Dir(), "kubeconfig"), "--namespace="+system)
	var said bytes.Buffer
	process.Stdout, process.Stderr = &said, &said
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("cert-manager ended by itself: %v", err)
		default:
			cancel()
			<-ended
		}
		if t.Failed() {
			t.Logf("cert-manager said:\n%s", said.String())
		}
	})
}

// certificate is what cert-manager has put into the Secret.
type certificate struct{ leaf, authority *x509.Certificate }

// secret waits until the Secret has a certificate that is not the former one; nil for any.
func secret(t *testing.T, name string, former *x509.Certificate) certificate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var found certificate
	source := cluster.SourceOf[*corev1.Secret]("secret "+name, local.Host.CoreV1().Secrets(system), cluster.Named(name))
	_, err := cluster.Await(ctx, source, func(secrets []*corev1.Secret) string {
		if len(secrets) == 0 {
			return "it is not there"
		}
		data := secrets[0].Data
		for key, to := range map[string]**x509.Certificate{corev1.TLSCertKey: &found.leaf, corev1.ServiceAccountRootCAKey: &found.authority} {
			block, _ := pem.Decode(data[key])
			if block == nil {
				return key + " is not in it"
			}
			var err error
			if *to, err = x509.ParseCertificate(block.Bytes); err != nil {
				return key + ": " + err.Error()
			}
		}
		if found.leaf.Equal(former) {
			return "it has still the former certificate"
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// renewed has cert-manager renew a Certificate, as its own command "cmctl renew" has it, and waits for the new one.
func renewed(t *testing.T, name, secretName string) certificate {
	t.Helper()
	before := secret(t, secretName, nil)
	client := local.Dynamic.Resource(certificates).Namespace(system)
	// The controllers write the same status.
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
		if err != nil {
			return err
		}
		conditions = append(conditions, map[string]any{"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
			"message": "renewed by a test", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339), "observedGeneration": object.GetGeneration()})
		if err := unstructured.SetNestedSlice(object.Object, conditions, "status", "conditions"); err != nil {
			return err
		}
		_, err = client.UpdateStatus(t.Context(), object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return secret(t, secretName, before.leaf)
}

// allServe waits until every replica serves the certificate, and kube-apiserver trusts it.
func allServe(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), renewedWithin)
	defer cancel()
	for i := range 3 {
		name := fmt.Sprintf("%s-%d", set, i)
		for {
			serving, err := served(ctx, name)
			if err == nil && serving.Equal(leaf) {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s does not serve the certificate with serial number %v, but %v (%v)", name, leaf.SerialNumber, serving, err)
			case <-time.After(time.Second):
			}
		}
	}
	trusted(ctx, t)
}

// trusted waits until the authority in the Secret is in the caBundle of the APIService.
func trusted(ctx context.Context, t *testing.T) {
	t.Helper()
	want, err := local.Host.CoreV1().Secrets(system).Get(ctx, servingSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Await(ctx, local.APIService(apiService), func(found []*unstructured.Unstructured) string {
		if len(found) == 0 {
			return "it is not there"
		}
		encoded, _, err := unstructured.NestedString(found[0].Object, "spec", "caBundle")
		if err != nil {
			return err.Error()
		}
		bundle, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return err.Error()
		}
		// Former authorities stay in it for as long as they are valid.
		if authority := want.Data[corev1.ServiceAccountRootCAKey]; !bytes.Contains(bundle, bytes.TrimSpace(authority)) {
			return fmt.Sprintf("its caBundle is\n%s\nand the authority is\n%s", bundle, authority)
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
}

// served is the certificate that a pod shows whoever connects to it.
func served(ctx context.Context, pod string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	forward := local.KubectlCommand(ctx, "-n", system, "port-forward", "pod/"+pod, ":8443")
	var complained bytes.Buffer
	forward.Stderr = &complained
	output, err := forward.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := forward.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cancel()
		_ = forward.Wait() // It has been killed.
	}()
	// The first line is "Forwarding from 127.0.0.1:40123 -> 8443".
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("kubectl port-forward: %w: %s", err, complained.String())
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // It is looked at, not trusted.
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}
