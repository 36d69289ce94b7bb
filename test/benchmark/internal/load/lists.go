// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/test/benchmark/internal/plane"
)

// asTable is what kubectl asks for.
const asTable = "application/json;as=Table;g=meta.k8s.io;v=v1"

// listAll lists the Rollouts and the Deployments of all namespaces, in turn and in both ways, as of now and all at once.
func (c *Clients) listAll(ctx context.Context, p *plane.Plane, r Rest, _ []string, result *Idle) error {
	rollouts, err := c.rollouts.SluiceV1alpha1().Rollouts(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	deployments, err := c.host.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(rollouts.Items) < r.Rollouts || len(deployments.Items) < r.Rollouts {
		return fmt.Errorf("there are %d Rollouts and %d Deployments instead of %d each", len(rollouts.Items), len(deployments.Items), r.Rollouts)
	}
	// What they held in memory is not to be collected while something is timed.
	rollouts, deployments = nil, nil
	for range listSamples {
		for _, of := range []struct {
			client   rest.Interface
			resource string
			lists    *Lists
		}{
			{c.host.AppsV1().RESTClient(), "deployments", &result.Deployments},
			{c.rollouts.SluiceV1alpha1().RESTClient(), "rollouts", &result.Rollouts},
		} {
			took, size, err := listOnce(ctx, of.client, of.resource, runtime.ContentTypeProtobuf)
			if err != nil {
				return err
			}
			of.lists.Protobuf, of.lists.Size = append(of.lists.Protobuf, took), size
			if took, _, err = listOnce(ctx, of.client, of.resource, asTable); err != nil {
				return err
			}
			of.lists.Table = append(of.lists.Table, took)
		}
	}
	memory, err := p.Memory(plane.SluiceAPIServer)
	if err != nil {
		return err
	}
	// Lists included.
	atRest := result.Memory[plane.SluiceAPIServer]
	atRest.Most = memory.Most
	result.Memory[plane.SluiceAPIServer] = atRest
	return nil
}

// listOnce reads one list to its end, and does not decode it.
func listOnce(ctx context.Context, client rest.Interface, resource, accept string) (took time.Duration, size int, err error) {
	began := time.Now()
	body, err := client.Get().Resource(resource).SetHeader("Accept", accept).DoRaw(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("listing all %s as %s: %w", resource, accept, err)
	}
	return time.Since(began), len(body), nil
}
