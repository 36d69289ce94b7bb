// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"crypto/x509"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// etcd reads the authorities that it trusts only when it starts. So whatever was started after one change of the
// authority has to trust what is signed after the next one.
func TestTheNextAuthorityIsTrustedBeforeItSigns(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lifetimes := Lifetimes{Authority: 90 * 24 * time.Hour, Leaf: 24 * time.Hour}
	a, err := newAuthority(lifetimes, now)
	if err != nil {
		t.Fatal(err)
	}
	for change := range 4 {
		trusted := x509.NewCertPool()
		for _, c := range a.trusted() {
			trusted.AddCert(c)
		}
		before := a.now.cert
		for renewed := false; !renewed; now = now.Add(24 * time.Hour) {
			data, err := a.data()
			if err != nil {
				t.Fatal(err)
			}
			if a, err = parseAuthority(data); err != nil {
				t.Fatal(err)
			}
			if renewed, err = a.renew(lifetimes, now); err != nil {
				t.Fatal(err)
			}
			leaf, _, err := a.issue("m0", "m0.example.com", lifetimes.Leaf, now)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, CurrentTime: now, DNSName: "m0.example.com", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Fatalf("change %d, at %v: %v", change, now, err)
			}
		}
		if a.now.cert.Equal(before) || !a.former[0].Equal(before) {
			t.Errorf("change %d: the former authority is not kept as one", change)
		}
	}
}

func TestMembersShareOneAuthority(t *testing.T) {
	secrets := fake.NewClientset().CoreV1().Secrets("sluice-system")
	var made []*Certificate
	for _, name := range []string{"m0", "m1"} {
		c := NewCertificate(CertificateConfig{Secrets: secrets, Dir: t.TempDir(), Name: name, Host: name + ".example.com", Lifetimes: DefaultLifetimes})
		if err := c.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		made = append(made, c)
	}
	if !made[0].issuer.Equal(made[1].issuer) {
		t.Error("each member has an authority of its own")
	}
	first := made[0].leaf
	if err := made[0].Renew(t.Context()); err != nil || made[0].leaf != first {
		t.Errorf("a certificate is replaced that is good for long: %v", err)
	}
	secret, err := secrets.Get(t.Context(), AuthoritySecretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data[signerKey] = secret.Data[successorKey]
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := made[0].Renew(t.Context()); err == nil {
		t.Error("a Secret whose key is not that of its certificate is used")
	}
}
