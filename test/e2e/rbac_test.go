// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// user is somebody with one of the shipped roles in the namespace of the test.
func (s *scenario) user(name, role string) *scenario {
	s.Helper()
	_, err := s.Host.RbacV1().RoleBindings(s.namespace).Create(s.ctx(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}, metav1.CreateOptions{})
	s.must(err)
	other, err := s.As(name)
	s.must(err)
	return &scenario{T: s.T, Cluster: other, namespace: s.namespace}
}

// Who may view a Rollout may not promote it, by no way of calling the verb; the refusal names the right.
func TestViewerMayNotPromote(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("watched")
	viewer := s.user("violet", "sluice-viewer")
	// The host learns of the binding by a watch.
	_, err := cluster.Await(s.ctx(), viewer.Rollout(s.namespace, r.Name), func(found []*v1alpha1.Rollout) string { return unless(len(found) == 1, "the Rollout") })
	s.must(err)
	viewer.get(r.Name)
	s.contains(s.kubectl("get", resource, "--as=violet"), r.Name)
	for verb, kind := range map[string]string{"promote": "promote", "promote full": "promote", "abort": "abort", "retry": "retry"} {
		s.refused(viewer.perform(r.Name, verb), http.StatusForbidden, "violet", "create", "rollouts/"+kind)
	}
	_, err = viewer.rollouts().Patch(s.ctx(), r.Name, types.MergePatchType, []byte("{}"), metav1.PatchOptions{}, "promote")
	s.refused(err, http.StatusForbidden, "patch", "rollouts/promote")
	_, err = viewer.patch(r.Name, `{"spec":{"paused":true}}`)
	s.refused(err, http.StatusForbidden, "patch", "rollouts")
	_, err = viewer.patch(r.Name, `{"status":{"abort":true}}`, "status")
	s.refused(err, http.StatusForbidden, "rollouts/status")
	output := s.run("", "sluice", "promote", r.Name, "--as=violet")
	if output.Code != 1 {
		t.Errorf("the plugin ends with %d", output.Code)
	}
	s.contains(output.Stderr, "rollouts/promote", "violet")
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion {
		t.Error("a viewer has changed something")
	}
}

// To promote and to edit are different rights.
func TestRolesAreApart(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("shared")
	promoter, editor := s.user("paul", "sluice-promoter"), s.user("emma", "sluice-editor")
	s.oncePermitted(func() error {
		_, err := editor.patch(r.Name, `{"spec":{"minReadySeconds":1}}`)
		return err
	})
	s.oncePermitted(func() error { return promoter.perform(r.Name, "promote") })
	_, err := promoter.patch(r.Name, `{"spec":{"paused":true}}`)
	s.refused(err, http.StatusForbidden)
	s.refused(editor.perform(r.Name, "promote"), http.StatusForbidden, "rollouts/promote")
	s.refused(promoter.perform(r.Name, "abort"), http.StatusForbidden, "rollouts/abort")
}

// oncePermitted repeats what is forbidden until the host has learnt of a binding.
func (s *scenario) oncePermitted(act func() error) {
	s.Helper()
	var err error
	s.eventually("permission", func(context.Context) bool {
		err = act()
		return !apierrors.IsForbidden(err) && !isNotObserved(err)
	})
	s.must(err)
}

// Headers that claim an identity count only from the front proxy, which has a certificate of its authority.
func TestForgedFrontProxyHeaders(t *testing.T) {
	s := together(t)
	component, err := s.Component(cluster.Server)
	s.must(err)
	for name, certificates := range map[string][]tls.Certificate{
		"no certificate":              nil,
		"a certificate of our making": {selfSigned(s, "front-proxy-client")},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			// The server's own authority is not the point here: it is the client that pretends.
			InsecureSkipVerify: true,
			Certificates:       certificates,
		}}}
		for _, path := range []string{"/apis/sluice.dev/v1alpha1/rollouts", s.verbPath("any", "promote"), "/metrics"} {
			request, err := http.NewRequestWithContext(s.ctx(), http.MethodGet, component.URL+path, nil)
			s.must(err)
			request.Header.Set("X-Remote-User", "admin")
			request.Header.Set("X-Remote-Group", "system:masters")
			response, err := client.Do(request)
			s.must(err)
			s.must(response.Body.Close())
			if response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s is answered with %d", path, name, response.StatusCode)
			}
		}
	}
}

func selfSigned(s *scenario, name string) tls.Certificate {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: name, Organization: []string{"system:masters"}}, key)
	s.must(err)
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}
