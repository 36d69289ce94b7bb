// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the keys and certificates of the local control plane: ECDSA P-256 throughout,
// one authority for each circle of trust, kept in one folder. It imports only the standard library.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is how long a certificate lasts. Leaves are made anew by every start of the control plane,
// authorities only when there is none, so both simply outlive any use of it.
const validity = 10 * 365 * 24 * time.Hour

// Leaf asks for a certificate.
type Leaf struct {
	// Name is the name of its files, without extension.
	Name string
	// CommonName is the user that a client certificate stands for.
	CommonName string
	// Groups are the groups of that user.
	Groups []string
	// Hosts are the DNS names and IP addresses that a serving certificate is valid for; without any it
	// is a client's only.
	Hosts []string
}

// Authority signs certificates and writes them to its folder.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenAuthority reads the authority called name from dir, or makes it there if it is missing.
func OpenAuthority(dir, name string) (*Authority, error) {
	certificate, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if errors.Is(err, os.ErrNotExist) {
		return newAuthority(dir, name)
	}
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	authority, err := parse(dir, certificate, key)
	if err != nil {
		return nil, fmt.Errorf("the authority %s in %s is unusable (%w); stop the control plane and delete that folder", name, dir, err)
	}
	return authority, nil
}

func parse(dir string, certificate, key []byte) (*Authority, error) {
	certificateBlock, _ := pem.Decode(certificate)
	keyBlock, _ := pem.Decode(key)
	if certificateBlock == nil || keyBlock == nil {
		return nil, errors.New("its files hold no PEM block")
	}
	parsed, err := x509.ParseCertificate(certificateBlock.Bytes)
	if err != nil {
		return nil, err
	}
	private, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	return &Authority{dir: dir, cert: parsed, key: private}, nil
}

func newAuthority(dir, name string) (*Authority, error) {
	template, err := newTemplate(pkix.Name{CommonName: "sluice-local-" + name})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage |= x509.KeyUsageCertSign

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := write(dir, name, der, key); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{dir: dir, cert: cert, key: key}, nil
}

// Issue makes the certificate that is asked for and writes NAME.crt and NAME.key.
func (a *Authority) Issue(leaf Leaf) error {
	template, err := leaf.template()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	return write(a.dir, leaf.Name, der, key)
}

func (l Leaf) template() (*x509.Certificate, error) {
	template, err := newTemplate(pkix.Name{CommonName: l.CommonName, Organization: l.Groups})
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(l.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template, nil
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour), // clocks that were set back a little
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

// EnsureKey makes the private key NAME.key in dir unless there is one already.
func EnsureKey(dir, name string) error {
	path := filepath.Join(dir, name+".key")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(path, key)
}

func write(dir, name string, der []byte, key *ecdsa.PrivateKey) error {
	if err := writeKey(filepath.Join(dir, name+".key"), key); err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return os.WriteFile(filepath.Join(dir, name+".crt"), certificate, 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
