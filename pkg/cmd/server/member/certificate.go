// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
)

// AuthoritySecretName is the Secret, in the server's own namespace of the host cluster, with the authority of the members.
const AuthoritySecretName = "sluice-apiserver-members"

// certificateRecheck is how often it is asked whether anything is to be renewed.
const certificateRecheck = time.Minute

// CertificateConfig is what a Certificate needs.
type CertificateConfig struct {
	Secrets corev1client.SecretInterface
	// Dir is where the files are kept; only we may read it.
	Dir string
	// Name and Host are those of this member, and Names those of all.
	Name, Host string
	Names      []string
	Lifetimes  Lifetimes
	// Recheck is how often it is asked whether anything is to be renewed; 0 is a minute.
	Recheck time.Duration
}

// Certificate is by which a member is known to the others, and they to it. Each makes its own, by an authority that
// they share in a Secret and nobody else has. It is in files, since etcd reads them for every new connection.
type Certificate struct {
	config CertificateConfig
	leaf   *x509.Certificate
	issuer *x509.Certificate
}

// NewCertificate returns a certificate that is yet to be made: Renew does.
func NewCertificate(c CertificateConfig) *Certificate {
	if c.Recheck == 0 {
		c.Recheck = certificateRecheck
	}
	return &Certificate{config: c}
}

func (c *Certificate) pairFile() string  { return filepath.Join(c.config.Dir, "member.pem") }
func (c *Certificate) trustFile() string { return filepath.Join(c.config.Dir, "trusted.pem") }

// TLS is how both ends of a connection between members are set up.
func (c *Certificate) TLS() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile:       c.pairFile(),
		KeyFile:        c.pairFile(),
		TrustedCAFile:  c.trustFile(),
		ClientCertAuth: true,
		AllowedCNs:     c.config.Names,
		// Members are known by their names; addresses of pods change, and have no names of their own.
		SkipClientSANVerify: true,
	}
}

// Run renews what is due until ctx ends.
func (c *Certificate) Run(ctx context.Context) {
	ticker := time.NewTicker(c.config.Recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.Renew(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Could not look after the certificate of this member; will try again", "after", c.config.Recheck)
		}
	}
}

// Renew makes what is missing or due: the authority, which all share, and the certificate of this member.
func (c *Certificate) Renew(ctx context.Context) error {
	for {
		a, err := c.authority(ctx)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			// Another member was faster.
			continue
		}
		if err != nil {
			return fmt.Errorf("the authority of the members, Secret %s: %w", AuthoritySecretName, err)
		}
		return c.renewLeaf(a, time.Now())
	}
}

func (c *Certificate) authority(ctx context.Context) (*authority, error) {
	now := time.Now()
	secret, err := c.config.Secrets.Get(ctx, AuthoritySecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		a, err := newAuthority(c.config.Lifetimes, now)
		if err != nil {
			return nil, err
		}
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: AuthoritySecretName, Labels: partOf}, Type: corev1.SecretTypeOpaque}
		if secret.Data, err = a.data(); err == nil {
			_, err = c.config.Secrets.Create(ctx, secret, metav1.CreateOptions{})
		}
		return a, err
	}
	if err != nil {
		return nil, err
	}
	a, err := parseAuthority(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: delete the Secret, and restart all members", err)
	}
	renewed, err := a.renew(c.config.Lifetimes, now)
	if err != nil || !renewed {
		return a, err
	}
	secret = secret.DeepCopy()
	if secret.Data, err = a.data(); err == nil {
		_, err = c.config.Secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	return a, err
}

// renewLeaf makes a certificate, unless the one that is there is good for a while. What is trusted is written first.
func (c *Certificate) renewLeaf(a *authority, now time.Time) error {
	if c.leaf != nil && c.issuer.Equal(a.now.cert) && !due(c.leaf, now, c.config.Lifetimes.Leaf) {
		return nil
	}
	leaf, pair, err := a.issue(c.config.Name, c.config.Host, c.config.Lifetimes.Leaf, now)
	if err != nil {
		return err
	}
	trusted, err := cert.EncodeCertificates(a.trusted()...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.config.Dir, 0o700); err != nil {
		return err
	}
	if err := writeWhole(c.trustFile(), trusted); err != nil {
		return err
	}
	if err := writeWhole(c.pairFile(), pair); err != nil {
		return err
	}
	c.leaf, c.issuer = leaf, a.now.cert
	klog.InfoS("Made a certificate for this member", "member", c.config.Name, "expires", leaf.NotAfter)
	return nil
}
