// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// serveCertManager makes the cluster serve the kinds of cert-manager, by the definitions of the version that
// hack/certmanager pins. Nobody acts on them.
func (s *scenario) serveCertManager() {
	s.Helper()
	folder, err := s.ModuleSource(s.ctx(), "hack/certmanager", "github.com/cert-manager/cert-manager")
	s.must(err)
	for _, kind := range []string{"issuers", "certificates"} {
		data, err := os.ReadFile(filepath.Join(folder, "deploy", "crds", "cert-manager.io_"+kind+".yaml"))
		s.must(err)
		crd := &unstructured.Unstructured{}
		s.must(yaml.Unmarshal(data, &crd.Object))
		_, err = s.Dynamic.Resource(crdResource).Create(s.ctx(), crd, metav1.CreateOptions{})
		s.must(err)
		s.Cleanup(func() {
			err := s.Dynamic.Resource(crdResource).Delete(context.WithoutCancel(s.Context()), crd.GetName(), metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				s.Error(err)
			}
		})
		resource := schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: kind}
		s.eventually(crd.GetName()+" to be served", func(ctx context.Context) bool {
			_, err := s.Dynamic.Resource(resource).Namespace(s.namespace).List(ctx, metav1.ListOptions{})
			return err == nil
		})
	}
}

// rendered is what matters here of a manifest that kustomize has made.
type rendered struct {
	Metadata struct {
		Name, Namespace string
		Annotations     map[string]string
	}
	Spec struct {
		SecretName string
		DNSNames   []string
		Template   struct {
			Spec struct {
				Containers []struct {
					Args         []string
					VolumeMounts []struct{ Name, MountPath string }
				}
				Volumes []struct {
					Name   string
					Secret struct{ SecretName string }
				}
			}
		}
	}
}

// The component makes an overlay of ours take its certificate from cert-manager: what it makes is accepted by the
// cluster, and all parts name each other rightly.
func TestCertManagerComponent(t *testing.T) {
	s := together(t)
	s.serveCertManager()
	folder := t.TempDir()
	artifacts, err := filepath.Rel(folder, filepath.Join(local.Repository(), "artifacts"))
	s.must(err)
	kustomization := fmt.Sprintf("resources: [%[1]s/overlays/embedded]\ncomponents: [%[1]s/components/cert-manager]\n", artifacts)
	s.must(os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kustomization), 0o600))
	run := func(args ...string) string {
		t.Helper()
		output, err := s.Kubectl(s.ctx(), "", args...)
		s.must(err)
		s.must(output.Err())
		return output.Stdout
	}
	s.contains(run("apply", "-k", folder, "--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict"),
		"issuer.cert-manager.io/sluice-ca serverside-applied", "certificate.cert-manager.io/sluice-apiserver serverside-applied", "statefulset.apps/sluice-apiserver serverside-applied")

	var secret, injected, issued, args, mounted string
	for _, document := range strings.Split(run("kustomize", folder), "\n---\n") {
		var made rendered
		s.must(yaml.Unmarshal([]byte(document), &made))
		switch {
		case strings.Contains(document, "\nkind: Certificate\n") && made.Metadata.Name == "sluice-apiserver":
			issued, secret = made.Metadata.Namespace+"/"+made.Metadata.Name, made.Spec.SecretName
			if len(made.Spec.DNSNames) == 0 || made.Spec.DNSNames[0] != "sluice-apiserver.sluice-system.svc" {
				t.Errorf("kube-apiserver asks for sluice-apiserver.sluice-system.svc, the certificate is for %v", made.Spec.DNSNames)
			}
		case strings.Contains(document, "\nkind: APIService\n"):
			injected = made.Metadata.Annotations["cert-manager.io/inject-ca-from"]
		case strings.Contains(document, "\nkind: StatefulSet\n"):
			args = strings.Join(made.Spec.Template.Spec.Containers[0].Args, " ")
			for _, volume := range made.Spec.Template.Spec.Volumes {
				if volume.Name == "tls" {
					mounted = volume.Secret.SecretName
				}
			}
		}
	}
	if injected != issued || mounted != secret || secret == "" {
		t.Errorf("the Certificate %s fills %q, mounted is %q, and the caBundle comes from %q", issued, secret, mounted, injected)
	}
	s.contains(args, "--tls-cert-file=/etc/sluice/tls/tls.crt", "--tls-private-key-file=/etc/sluice/tls/tls.key")
}
