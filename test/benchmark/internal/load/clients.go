// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/pkg/generated/clientset/versioned"
)

const (
	// pollInterval is how often is asked for what is not timed.
	pollInterval = 200 * time.Millisecond
	// patience is how long anything may take before the benchmark gives up.
	patience = 10 * time.Minute
)

// Clients speak protobuf to the API server of the host and, through its aggregator, to Sluice.
type Clients struct {
	config   *rest.Config
	host     kubernetes.Interface
	rollouts versioned.Interface
	metadata metadata.Interface
}

// NewClients returns clients for the administrator's configuration.
func NewClients(config *rest.Config) (*Clients, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	clients := &Clients{config: config}
	var err error
	if clients.host, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if clients.rollouts, err = versioned.NewForConfig(config); err != nil {
		return nil, err
	}
	clients.metadata, err = metadata.NewForConfig(config)
	return clients, err
}

// withNamespace runs the function in a namespace of its own, that can run pods, and deletes that with all
// that is in it.
func (c *Clients) withNamespace(ctx context.Context, name string, act func(namespace string) error) error {
	return c.withNamespaces(ctx, []string{name}, func() error { return act(name) })
}

// withNamespaces does the same with several namespaces.
func (c *Clients) withNamespaces(ctx context.Context, names []string, act func() error) error {
	namespaces := c.host.CoreV1().Namespaces()
	for _, name := range names {
		if err := c.createNamespace(ctx, name); err != nil {
			return err
		}
	}
	if err := act(); err != nil {
		return err
	}
	for _, name := range names {
		if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return poll(ctx, fmt.Sprintf("the namespaces %v to be gone", names), func(ctx context.Context) (bool, error) {
		for _, name := range names {
			if _, err := namespaces.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return false, err
			}
		}
		return true, nil
	})
}

// createNamespace returns when pods can be created in the namespace.
func (c *Clients) createNamespace(ctx context.Context, name string) error {
	if _, err := c.host.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	return poll(ctx, "the default ServiceAccount of namespace "+name, func(ctx context.Context) (bool, error) {
		_, err := c.host.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignoreNotFound(err)
	})
}

// waitPods waits until the namespace holds exactly that many pods, so that those replaced are gone.
func (c *Clients) waitPods(ctx context.Context, namespace string, count int) error {
	pods := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(namespace)
	return poll(ctx, "the pods that were replaced to be gone", func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		return len(list.Items) == count, nil
	})
}

func poll(ctx context.Context, what string, condition wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, condition); err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// pause lets time pass that is part of the measurement.
func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}
