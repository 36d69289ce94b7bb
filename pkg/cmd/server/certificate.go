// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	apiregistration "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// useOwnCertificate makes the server serve with a certificate that it keeps in the host, unless the flags
// name files, or it did so before. It must be called before the serving options are applied.
func (o *Options) useOwnCertificate(ctx context.Context) error {
	files := &o.Recommended.SecureServing.ServerCert
	if files.CertKey.CertFile != "" || files.CertKey.KeyFile != "" || files.GeneratedCert != nil {
		return nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.Recommended.CoreAPI.CoreAPIKubeconfigPath)
	if err != nil {
		return fmt.Errorf("the host cluster is not configured: set --kubeconfig, or run in a pod of it: %w", err)
	}
	config.UserAgent = userAgent
	host, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	registrations, err := apiregistration.NewForConfig(config)
	if err != nil {
		return err
	}
	certificate := NewServingCertificate(ServingConfig{
		Secrets:     host.CoreV1(),
		APIServices: registrations.ApiregistrationV1(),
		Namespace:   o.Namespace,
		Service:     o.ServiceName,
		APIService:  v1alpha1.SchemeGroupVersion.Version + "." + v1alpha1.SchemeGroupVersion.Group,
		Lifetimes:   o.Certificates,
	})
	if err := certificate.RunOnce(ctx); err != nil {
		return fmt.Errorf("getting a serving certificate: %w", err)
	}
	files.GeneratedCert = certificate
	return nil
}
