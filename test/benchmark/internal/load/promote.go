// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Latency is how long each of many promotes took, counted from sending it through the aggregator.
type Latency struct {
	// Reply is until the reply was there, which shows the next step.
	Reply []time.Duration
	// Scaled is until a watch of the ReplicaSets showed the first new size.
	Scaled []time.Duration
	// Conflicts is how many times a promote had to be sent again; the time runs on then.
	Conflicts int
}

// promoted are the weights of the Rollout that is promoted, with a pause behind each. It has as many pods
// as make each step change at least one.
var promoted = Paused(Weights(10, 20, 30, 40, 50, 60, 70, 80, 90))

const promotedReplicas = 10

// Promotes updates a Rollout again and again, each time promoting it through all its pauses, until there
// are as many samples as wanted. The first round warms up and is not counted.
func (c *Clients) Promotes(ctx context.Context, namespace string, samples int) (*Latency, error) {
	kind := c.Rollouts(promoted)
	measured := &Latency{}
	err := c.withNamespace(ctx, namespace, func(namespace string) error {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		const name = "promoted"
		p, err := c.newPromoter(watching, kind, namespace, name)
		if err != nil {
			return err
		}
		if err := kind.create(ctx, namespace, name, promotedReplicas); err != nil {
			return err
		}
		if _, err := p.tracker.waitAll(ctx, 1, complete(firstImage)); err != nil {
			return err
		}
		if err := p.round(ctx, "benchmark:1", &Latency{}); err != nil {
			return err
		}
		for round := 2; len(measured.Reply) < samples; round++ {
			if err := p.round(ctx, fmt.Sprintf("benchmark:%d", round), measured); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("promoting: %w", err)
	}
	return measured, nil
}

// promoter promotes one Rollout.
type promoter struct {
	*Clients
	kind            Kind
	namespace, name string
	tracker         *tracker
	// scaled gets the time whenever a ReplicaSet is seen to have a new size.
	scaled chan time.Time
}

func (c *Clients) newPromoter(ctx context.Context, kind Kind, namespace, name string) (*promoter, error) {
	p := &promoter{Clients: c, kind: kind, namespace: namespace, name: name, scaled: make(chan time.Time, 100)}
	var err error
	if p.tracker, err = track(ctx, kind, namespace); err != nil {
		return nil, err
	}
	replicaSets := appsinformers.NewReplicaSetInformer(c.host, namespace, 0, nil)
	registration, err := replicaSets.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			if *before.(*appsv1.ReplicaSet).Spec.Replicas != *after.(*appsv1.ReplicaSet).Spec.Replicas {
				p.scaled <- time.Now()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	go replicaSets.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil, fmt.Errorf("watching ReplicaSets: %w", ctx.Err())
	}
	return p, nil
}

// round updates to the image and promotes through all pauses.
func (p *promoter) round(ctx context.Context, image string, measured *Latency) error {
	if err := p.kind.patch(ctx, p.namespace, p.name, imagePatch(image)); err != nil {
		return err
	}
	for step := int32(1); int(step) < len(promoted); step += 2 {
		if _, err := p.tracker.waitAll(ctx, 1, pausedAt(image, step)); err != nil {
			return err
		}
		if err := p.promote(ctx, step, measured); err != nil {
			return err
		}
	}
	_, err := p.tracker.waitAll(ctx, 1, complete(image))
	return err
}

// promote ends the pause at a step.
func (p *promoter) promote(ctx context.Context, step int32, measured *Latency) error {
	for len(p.scaled) > 0 {
		<-p.scaled
	}
	client := p.rollouts.SluiceV1alpha1().Rollouts(p.namespace)
	sent := time.Now()
	reply, err := client.Promote(ctx, p.name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
	for apierrors.IsConflict(err) && time.Since(sent) < patience {
		measured.Conflicts++
		reply, err = client.Promote(ctx, p.name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
	}
	replied := time.Now()
	if err != nil {
		return err
	}
	if next := ptr.Deref(reply.Status.CurrentStepIndex, -1); next != step+1 {
		return fmt.Errorf("the reply to a promote at step %d shows step %d, not %d", step, next, step+1)
	}
	select {
	case scaled := <-p.scaled:
		measured.Scaled = append(measured.Scaled, scaled.Sub(sent))
		measured.Reply = append(measured.Reply, replied.Sub(sent))
		return nil
	case <-time.After(patience):
		return errors.New("no ReplicaSet got a new size after a promote")
	case <-ctx.Done():
		return ctx.Err()
	}
}
