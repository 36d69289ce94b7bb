// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
)

// ClaimName is the ConfigMap, in the server's own namespace of the host cluster, that names the founder.
const ClaimName = "sluice-etcd-founder"

const founderKey = "founder"

// partOf labels what members keep in the host.
var partOf = map[string]string{"app.kubernetes.io/part-of": "sluice"}

// Host is what members know of each other through the host cluster. Everything is read live.
type Host struct {
	configMaps corev1client.ConfigMapInterface
	identity   *ownerguard.Host
}

// NewHost returns the host, with what is kept in a namespace of it.
func NewHost(configMaps corev1client.ConfigMapsGetter, identity *ownerguard.Host, namespace string) *Host {
	return &Host{configMaps: configMaps.ConfigMaps(namespace), identity: identity}
}

// Identity is the store that the host knows; empty if it knows none.
func (h *Host) Identity(ctx context.Context) (string, error) { return h.identity.Identity(ctx) }

// Founder is who has claimed to found the cluster; empty if nobody has.
func (h *Host) Founder(ctx context.Context) (string, error) {
	cm, err := h.configMaps.Get(ctx, ClaimName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading who has founded the cluster: %w", err)
	}
	if cm.Data[founderKey] == "" {
		return "", fmt.Errorf("ConfigMap %s/%s names no %s: put the name of the member there that has founded the cluster, or delete it if none has data", cm.Namespace, cm.Name, founderKey)
	}
	return cm.Data[founderKey], nil
}

// Claim claims the right to found the cluster. It is no error if somebody else was faster: whoever has claimed it has it.
func (h *Host) Claim(ctx context.Context, name string) error {
	_, err := h.configMaps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:   ClaimName,
			Labels: partOf,
			Annotations: map[string]string{"kubernetes.io/description": "Which member has founded the etcd cluster of the Sluice API server. " +
				"Nobody else ever does; do not delete it while there are Rollouts."},
		},
		Data: map[string]string{founderKey: name},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("claiming to found the cluster: %w", err)
	}
	return nil
}
