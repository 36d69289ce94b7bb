// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"
	apiregistrationv1client "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
)

// ServingSecretName is the Secret that replicas share, in our own namespace.
const ServingSecretName = "sluice-apiserver-serving"

// ServingConfig is what a ServingCertificate needs.
type ServingConfig struct {
	Secrets     corev1client.SecretsGetter
	APIServices apiregistrationv1client.APIServicesGetter
	// Namespace and Service are where kube-apiserver finds us.
	Namespace, Service string
	// APIService is the name of the registration whose caBundle is kept right.
	APIService string
	Lifetimes  CertificateLifetimes
}

// ServingCertificate is the certificate that the server makes for itself. It is kept in a Secret that
// all replicas share, is replaced before it expires, and is made known to kube-apiserver in the
// caBundle of our APIService. What is new is always trusted there before it is used.
//
// It is a dynamiccertificates.CertKeyContentProvider and ControllerRunner: given to the secure serving
// options as GeneratedCert, it is run by the server, and a new certificate needs no restart.
type ServingCertificate struct {
	config ServingConfig
	names  []string
	now    func() time.Time

	mu        sync.RWMutex
	cert, key []byte
	listeners []dynamiccertificates.Listener
}

var (
	_ dynamiccertificates.CertKeyContentProvider = &ServingCertificate{}
	_ dynamiccertificates.ControllerRunner       = &ServingCertificate{}
)

// NewServingCertificate returns a certificate without content: RunOnce gets it.
func NewServingCertificate(c ServingConfig) *ServingCertificate {
	return &ServingCertificate{
		config: c,
		names: []string{
			c.Service + "." + c.Namespace + ".svc",
			c.Service + "." + c.Namespace + ".svc.cluster.local",
			c.Service + "." + c.Namespace,
			c.Service,
			"localhost",
		},
		now: time.Now,
	}
}

// Name is for log lines.
func (s *ServingCertificate) Name() string {
	return fmt.Sprintf("secret %s/%s", s.config.Namespace, ServingSecretName)
}

// CurrentCertKeyContent returns the certificate and its key in PEM; nil before the first RunOnce.
func (s *ServingCertificate) CurrentCertKeyContent() (cert, key []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cert, s.key
}

// AddListener makes the listener be told of every new certificate.
func (s *ServingCertificate) AddListener(l dynamiccertificates.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
}

// Run keeps the certificate valid and known until ctx ends. workers is of no meaning.
func (s *ServingCertificate) Run(ctx context.Context, _ int) {
	recheck := s.config.Lifetimes.recheck()
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := s.RunOnce(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Could not look after the serving certificate; will try again", "after", recheck)
		}
	}, recheck)
}

// RunOnce makes, renews or takes over the certificate, whichever is needed, and makes kube-apiserver
// trust it. A missing APIService is no error: it may be made after us.
func (s *ServingCertificate) RunOnce(ctx context.Context) error {
	for {
		err := s.sync(ctx)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			// Another replica was faster; what it wrote is as good as ours.
			continue
		}
		return err
	}
}

func (s *ServingCertificate) sync(ctx context.Context) error {
	secret, material, err := s.load(ctx)
	if err != nil {
		return err
	}
	if material.authorityDue(s.config.Lifetimes, s.now()) {
		if err := material.renewAuthority(s.config.Lifetimes, s.now()); err != nil {
			return err
		}
		if secret, err = s.store(ctx, secret, material); err != nil {
			return err
		}
	}
	if err := s.publish(ctx, material); err != nil {
		return err
	}
	if material.leafDue(s.names, s.config.Lifetimes, s.now()) {
		if err := material.renewLeaf(s.names, s.config.Lifetimes, s.now()); err != nil {
			return err
		}
		if secret, err = s.store(ctx, secret, material); err != nil {
			return err
		}
	}
	s.use(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	return nil
}

// load returns what the Secret holds. It makes the Secret if there is none, and makes its content anew
// if it cannot be used.
func (s *ServingCertificate) load(ctx context.Context) (*corev1.Secret, *servingMaterial, error) {
	secret, err := s.config.Secrets.Secrets(s.config.Namespace).Get(ctx, ServingSecretName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("reading %s: %w", s.Name(), err)
	}
	if err == nil {
		material, err := parseServingMaterial(secret.Data)
		if err == nil {
			return secret, material, nil
		}
		klog.ErrorS(err, "Making a new serving certificate, since the Secret cannot be used", "secret", klog.KObj(secret))
	} else {
		secret = nil
	}
	material, err := newServingMaterial(s.names, s.config.Lifetimes, s.now())
	if err != nil {
		return nil, nil, err
	}
	secret, err = s.store(ctx, secret, material)
	return secret, material, err
}

// store writes the Secret that was seen, or a new one if that is nil.
func (s *ServingCertificate) store(ctx context.Context, seen *corev1.Secret, m *servingMaterial) (*corev1.Secret, error) {
	data, err := m.data()
	if err != nil {
		return nil, err
	}
	secrets := s.config.Secrets.Secrets(s.config.Namespace)
	if seen == nil {
		return secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: ServingSecretName, Labels: map[string]string{"app.kubernetes.io/part-of": "sluice"}},
			Type:       corev1.SecretTypeTLS,
			Data:       data,
		}, metav1.CreateOptions{})
	}
	secret := seen.DeepCopy()
	secret.Data = data
	return secrets.Update(ctx, secret, metav1.UpdateOptions{})
}

// publish makes kube-apiserver trust our authorities.
func (s *ServingCertificate) publish(ctx context.Context, m *servingMaterial) error {
	bundle, err := m.bundle()
	if err != nil {
		return err
	}
	client := s.config.APIServices.APIServices()
	registered, err := client.Get(ctx, s.config.APIService, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		klog.V(2).InfoS("The APIService does not exist yet; its caBundle is set when it does", "apiService", s.config.APIService)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading APIService %s: %w", s.config.APIService, err)
	}
	service := registered.Spec.Service
	if service == nil || service.Namespace != s.config.Namespace || service.Name != s.config.Service {
		return fmt.Errorf("APIService %s does not point to Service %s/%s: register it for that Service, or start the server with the right --namespace and --service-name",
			s.config.APIService, s.config.Namespace, s.config.Service)
	}
	if bytes.Equal(registered.Spec.CABundle, bundle) && !registered.Spec.InsecureSkipTLSVerify {
		return nil
	}
	registered = registered.DeepCopy()
	registered.Spec.CABundle, registered.Spec.InsecureSkipTLSVerify = bundle, false
	if _, err := client.Update(ctx, registered, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("setting the caBundle of APIService %s: %w", s.config.APIService, err)
	}
	klog.InfoS("Set the caBundle of the APIService", "apiService", s.config.APIService, "authorities", len(m.authorities))
	return nil
}

// use serves the certificate from now on.
func (s *ServingCertificate) use(cert, key []byte) {
	s.mu.Lock()
	changed := !bytes.Equal(s.cert, cert) || !bytes.Equal(s.key, key)
	s.cert, s.key = cert, key
	listeners := s.listeners
	s.mu.Unlock()
	if !changed {
		return
	}
	for _, l := range listeners {
		l.Enqueue()
	}
}
