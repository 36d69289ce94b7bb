// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	authority, err := OpenAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)

	for _, row := range []struct {
		name   string
		leaf   Leaf
		dns    []string
		ips    []string
		serves bool
	}{
		{"a client has no host and cannot serve", Leaf{Name: "admin", CommonName: "admin", Groups: []string{"system:masters"}}, nil, nil, false},
		{"a server has names and addresses apart", Leaf{Name: "api", CommonName: "api", Hosts: []string{"localhost", "127.0.0.1", "kubernetes.default.svc"}},
			[]string{"localhost", "kubernetes.default.svc"}, []string{"127.0.0.1"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := authority.Issue(row.leaf); err != nil {
				t.Fatal(err)
			}
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, row.leaf.Name+".crt"), filepath.Join(dir, row.leaf.Name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			cert := pair.Leaf
			if cert.Subject.CommonName != row.leaf.CommonName || !slices.Equal(cert.Subject.Organization, row.leaf.Groups) {
				t.Errorf("subject is %v", cert.Subject)
			}
			var ips []string
			for _, ip := range cert.IPAddresses {
				ips = append(ips, ip.String())
			}
			if !slices.Equal(cert.DNSNames, row.dns) || !slices.Equal(ips, row.ips) {
				t.Errorf("valid for %v and %v; want %v and %v", cert.DNSNames, ips, row.dns, row.ips)
			}
			for usage, allowed := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: row.serves} {
				_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
				if (err == nil) != allowed {
					t.Errorf("usage %v: %v; want allowed %v", usage, err, allowed)
				}
			}
			key, err := os.Stat(filepath.Join(dir, row.leaf.Name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			if key.Mode().Perm() != 0o600 {
				t.Errorf("the key's mode is %v; want it readable by its owner only", key.Mode())
			}
		})
	}
}

func TestAuthorityAndKeysOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	read := func() []byte {
		if _, err := OpenAuthority(dir, "ca"); err != nil {
			t.Fatal(err)
		}
		if err := EnsureKey(dir, "sa"); err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, name := range []string{"ca.crt", "ca.key", "sa.key"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, content...)
		}
		return all
	}
	if first, second := read(), read(); !bytes.Equal(first, second) {
		t.Error("opened a second time, the authority or the key is another one")
	}
}

func TestBrokenAuthorityIsNamed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ca.crt", "ca.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenAuthority(dir, "ca"); err == nil {
		t.Error("a broken authority was accepted")
	}
}
