// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The keys of the Secret: tls.crt and tls.key are what is served, ca.crt are the authorities that
// clients should trust, the one that signs first, and ca.key is the key of that one.
const (
	caCertKey       = "ca.crt"
	caPrivateKeyKey = "ca.key"
)

// clockSkew is by how much the clock of a client may be behind ours.
const clockSkew = 5 * time.Minute

// servingMaterial is all that the Secret holds, parsed.
type servingMaterial struct {
	// authorities are trusted; the first one signs, with signer.
	authorities []*x509.Certificate
	signer      crypto.Signer
	// leaf is served, with leafKey.
	leaf    *x509.Certificate
	leafKey []byte
}

// dueForRenewal is true if a third of the lifetime is left, or less.
func dueForRenewal(c *x509.Certificate, now time.Time, lifetime time.Duration) bool {
	return c.NotAfter.Sub(now) < lifetime/3
}

// newServingMaterial makes a new authority and a certificate by it.
func newServingMaterial(names []string, lifetimes CertificateLifetimes, now time.Time) (*servingMaterial, error) {
	m := &servingMaterial{}
	if err := m.renewAuthority(lifetimes, now); err != nil {
		return nil, err
	}
	return m, m.renewLeaf(names, lifetimes, now)
}

// renewAuthority puts a new authority before the old ones, which stay trusted until they expire.
func (m *servingMaterial) renewAuthority(lifetimes CertificateLifetimes, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("sluice-apiserver-ca@%d", now.Unix())},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(lifetimes.CA),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	ca, err := signCertificate(template, template, key, key)
	if err != nil {
		return err
	}
	trusted := slices.DeleteFunc(slices.Clone(m.authorities), func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	m.authorities, m.signer = append([]*x509.Certificate{ca}, trusted...), key
	return nil
}

// renewLeaf makes a new certificate for the names, the first of which is its common name too.
func (m *servingMaterial) renewLeaf(names []string, lifetimes CertificateLifetimes, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	signedBy := m.authorities[0]
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		IPAddresses: servingIPs(),
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(lifetimes.Leaf),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(signedBy.NotAfter) {
		template.NotAfter = signedBy.NotAfter
	}
	leaf, err := signCertificate(template, signedBy, key, m.signer)
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	m.leaf, m.leafKey = leaf, keyPEM
	return nil
}

func servingIPs() []net.IP { return []net.IP{net.IPv4(127, 0, 0, 1).To4()} }

func signCertificate(template, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// authorityDue is true if a new authority is needed.
func (m *servingMaterial) authorityDue(lifetimes CertificateLifetimes, now time.Time) bool {
	return dueForRenewal(m.authorities[0], now, lifetimes.CA)
}

// leafDue is true if what is served expires soon, has other names, or is not by an authority that
// clients are told to trust. What would be signed by an authority that clients may not know yet waits until
// they do, as long as what is served is good.
func (m *servingMaterial) leafDue(names []string, lifetimes CertificateLifetimes, now time.Time) bool {
	known := m.authorities[0].NotBefore.Add(clockSkew + lifetimes.trustDelay())
	until := now
	if known.After(now) {
		until = known
	}
	if !m.trusted(names, until) {
		return true
	}
	return dueForRenewal(m.leaf, now, lifetimes.Leaf) && !now.Before(known)
}

// trusted is true if the certificate that is served has all the names, and will be accepted at that time by those who
// have our authorities.
func (m *servingMaterial) trusted(names []string, at time.Time) bool {
	if !slices.Equal(m.leaf.DNSNames, names) || !slices.EqualFunc(m.leaf.IPAddresses, servingIPs(), net.IP.Equal) {
		return false
	}
	roots := x509.NewCertPool()
	for _, c := range m.authorities {
		roots.AddCert(c)
	}
	_, err := m.leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, DNSName: names[0]})
	return err == nil
}

// bundle is what clients should trust, in PEM.
func (m *servingMaterial) bundle() ([]byte, error) { return cert.EncodeCertificates(m.authorities...) }

// data is the content of the Secret.
func (m *servingMaterial) data() (map[string][]byte, error) {
	bundle, err := m.bundle()
	if err != nil {
		return nil, err
	}
	signer, err := keyutil.MarshalPrivateKeyToPEM(m.signer)
	if err != nil {
		return nil, err
	}
	leaf, err := cert.EncodeCertificates(m.leaf)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		caCertKey:               bundle,
		caPrivateKeyKey:         signer,
		corev1.TLSCertKey:       leaf,
		corev1.TLSPrivateKeyKey: m.leafKey,
	}, nil
}

// parseServingMaterial reads the content of the Secret, and checks that keys and certificates match.
func parseServingMaterial(data map[string][]byte) (*servingMaterial, error) {
	authorities, err := cert.ParseCertsPEM(data[caCertKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caCertKey, err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(data[caPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caPrivateKeyKey, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(authorities[0].PublicKey) {
		return nil, errors.New("the key of the authority is not that of its certificate")
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return &servingMaterial{
		authorities: authorities,
		signer:      signer,
		leaf:        pair.Leaf,
		leafKey:     bytes.Clone(data[corev1.TLSPrivateKeyKey]),
	}, nil
}
