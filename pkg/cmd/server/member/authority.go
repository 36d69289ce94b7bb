// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The keys of the Secret: the authority that signs, the one that will sign after it, and those that have
// signed and have not expired.
const (
	signerCert, signerKey       = "ca.crt", "ca.key"
	successorCert, successorKey = "next-ca.crt", "next-ca.key"
	formerCerts                 = "former-ca.crt"
)

// clockSkew is by how much the clock of another member may be behind ours.
const clockSkew = 5 * time.Minute

// Lifetimes is how long certificates are valid. Each is replaced when a third of its time is left.
type Lifetimes struct {
	// Authority is for how long an authority signs, and as long before that it is trusted already.
	Authority time.Duration
	// Leaf is the lifetime of the certificate of a member.
	Leaf time.Duration
}

// DefaultLifetimes are ten years for an authority and one for the certificate of a member.
var DefaultLifetimes = Lifetimes{Authority: 10 * 365 * 24 * time.Hour, Leaf: 365 * 24 * time.Hour}

// due is true if a third of the lifetime is left, or less.
func due(c *x509.Certificate, now time.Time, lifetime time.Duration) bool {
	return c.NotAfter.Sub(now) < lifetime/3
}

// signer is a certificate of an authority with its key.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// authority is what makes somebody a member. etcd reads which authorities it trusts only when it starts; so the
// next one is trusted long before it signs.
type authority struct {
	now, next signer
	former    []*x509.Certificate
}

func newAuthority(lifetimes Lifetimes, now time.Time) (*authority, error) {
	current, err := newSigner(now, lifetimes.Authority)
	if err != nil {
		return nil, err
	}
	next, err := newSigner(now, 2*lifetimes.Authority)
	return &authority{now: current, next: next}, err
}

func newSigner(now time.Time, lifetime time.Duration) (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("sluice-members-ca@%d", now.UnixNano())},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	c, err := sign(template, template, key, key)
	return signer{cert: c, key: key}, err
}

func sign(template, parent *x509.Certificate, key, by crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// renew lets the successor sign, if that is due, and says whether it was.
func (a *authority) renew(lifetimes Lifetimes, now time.Time) (bool, error) {
	if !due(a.now.cert, now, lifetimes.Authority) {
		return false, nil
	}
	next, err := newSigner(now, 2*lifetimes.Authority)
	if err != nil {
		return false, err
	}
	former := []*x509.Certificate{a.now.cert}
	for _, c := range a.former {
		if now.Before(c.NotAfter) {
			former = append(former, c)
		}
	}
	a.now, a.next, a.former = a.next, next, former
	return true, nil
}

// issue makes the certificate of a member, for both ends of a connection. Certificate and key are in one text, so that
// a file of both is replaced at once.
func (a *authority) issue(name, host string, lifetime time.Duration, now time.Time) (*x509.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if template.NotAfter.After(a.now.cert.NotAfter) {
		template.NotAfter = a.now.cert.NotAfter
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	leaf, err := sign(template, a.now.cert, key, a.now.key)
	if err != nil {
		return nil, nil, err
	}
	certPEM, err := cert.EncodeCertificates(leaf)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	return leaf, append(certPEM, keyPEM...), err
}

// trusted are all authorities by which a certificate may be.
func (a *authority) trusted() []*x509.Certificate {
	return append([]*x509.Certificate{a.now.cert, a.next.cert}, a.former...)
}

// data is the content of the Secret.
func (a *authority) data() (map[string][]byte, error) {
	data := map[string][]byte{}
	for _, s := range []struct {
		cert, key string
		signer
	}{{signerCert, signerKey, a.now}, {successorCert, successorKey, a.next}} {
		var err error
		if data[s.cert], err = cert.EncodeCertificates(s.signer.cert); err != nil {
			return nil, err
		}
		if data[s.key], err = keyutil.MarshalPrivateKeyToPEM(s.signer.key); err != nil {
			return nil, err
		}
	}
	if len(a.former) > 0 {
		former, err := cert.EncodeCertificates(a.former...)
		if err != nil {
			return nil, err
		}
		data[formerCerts] = former
	}
	return data, nil
}

// parseAuthority reads the content of the Secret, and checks that keys and certificates match.
func parseAuthority(data map[string][]byte) (*authority, error) {
	a := &authority{}
	for _, s := range []struct {
		cert, key string
		into      *signer
	}{{signerCert, signerKey, &a.now}, {successorCert, successorKey, &a.next}} {
		certs, err := cert.ParseCertsPEM(data[s.cert])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.cert, err)
		}
		key, err := keyutil.ParsePrivateKeyPEM(data[s.key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.key, err)
		}
		private, ok := key.(*ecdsa.PrivateKey)
		if !ok || !private.PublicKey.Equal(certs[0].PublicKey) {
			return nil, fmt.Errorf("%s is not the key of %s", s.key, s.cert)
		}
		*s.into = signer{cert: certs[0], key: private}
	}
	if len(data[formerCerts]) > 0 {
		former, err := cert.ParseCertsPEM(data[formerCerts])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", formerCerts, err)
		}
		a.former = former
	}
	return a, nil
}
