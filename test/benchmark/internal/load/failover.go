// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/test/benchmark/internal/plane"
)

const (
	// serverNamespace and leaseName are where the servers agree on who leads.
	serverNamespace, leaseName = "sluice-system", "sluice-controller"
	// elections is how many there are at most until the second server has won one.
	elections = 20
)

// failOver has a second server lead, kills it, and measures when the first has acted on a Rollout that is created then.
func (c *Clients) failOver(ctx context.Context, p *plane.Plane, _ Rest, namespaces []string, result *Idle) error {
	first, err := c.leader(ctx, "")
	if err != nil {
		return err
	}
	standby, err := p.Standby(ctx)
	if err != nil {
		return err
	}
	defer standby.Kill()
	for count := 0; ; count++ {
		leads, err := c.leader(ctx, usurper)
		if err != nil {
			return err
		}
		if leads != first {
			break
		}
		if count == elections {
			return fmt.Errorf("the second server has won none of %d elections", elections)
		}
		if err := c.depose(ctx); err != nil {
			return err
		}
	}
	kind, name := c.Rollouts(Weights(50)), fmt.Sprintf("fail-over-%d", failOvers.Add(1))
	standby.Kill()
	died := time.Now()
	if err := kind.create(ctx, namespaces[0], name, 0); err != nil {
		return err
	}
	for {
		r, err := c.rollouts.SluiceV1alpha1().Rollouts(namespaces[0]).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if r.Status.ObservedGeneration > 0 {
			result.FailOver = time.Since(died)
			return nil
		}
		if time.Since(died) > patience {
			return errors.New("nobody acts after the leader has died")
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// usurper is who holds the Lease while both servers stand for election.
const usurper = "benchmark"

// leader waits until somebody other than the one named holds the Lease, and returns who.
func (c *Clients) leader(ctx context.Context, other string) (holder string, err error) {
	err = poll(ctx, "a leader", func(ctx context.Context) (bool, error) {
		lease, err := c.host.CoordinationV1().Leases(serverNamespace).Get(ctx, leaseName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		holder = ptr.Deref(lease.Spec.HolderIdentity, "")
		return holder != "" && holder != other, nil
	})
	return holder, err
}

// depose takes the Lease from whoever holds it. When it has run out both servers may take it.
func (c *Clients) depose(ctx context.Context) error {
	leases := c.host.CoordinationV1().Leases(serverNamespace)
	return poll(ctx, "the Lease to be taken", func(ctx context.Context) (bool, error) {
		lease, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		lease.Spec.HolderIdentity, lease.Spec.RenewTime = ptr.To(usurper), ptr.To(metav1.NowMicro())
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		// The leader renews it all the time.
		return err == nil, ignoreConflict(err)
	})
}
