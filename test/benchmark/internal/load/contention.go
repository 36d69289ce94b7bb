// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/test/contest"
)

// Contention is what many rounds took, in each of which many callers promoted the same step at once. That exactly one
// of them succeeded is not a figure: a round in which it is otherwise is an error.
type Contention struct {
	// Winner is how long the one that succeeded waited for its reply, All how long it took to answer everybody.
	Winner, All []time.Duration
}

// Contend has rounds of promotes. What is random in them follows from the seed.
func (c *Clients) Contend(ctx context.Context, namespace string, rounds int, seed uint64) (Contention, error) {
	var measured Contention
	err := c.withNamespace(ctx, namespace, func(namespace string) error {
		contested, err := contest.New(ctx, c.rollouts.SluiceV1alpha1().Rollouts(namespace), "contested", seed)
		if err != nil {
			return err
		}
		for range rounds {
			round, err := contested.Round(ctx)
			if err != nil {
				return err
			}
			measured.Winner = append(measured.Winner, round.Winner)
			measured.All = append(measured.All, round.All)
		}
		return nil
	})
	if err != nil {
		return Contention{}, fmt.Errorf("promoting the same step at once (--seed=%d): %w", seed, err)
	}
	return measured, nil
}

// PerSecond is how many rounds there were in a second, without what prepared them.
func (c Contention) PerSecond() float64 {
	var total time.Duration
	for _, took := range c.All {
		total += took
	}
	return float64(len(c.All)) / total.Seconds()
}
