// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"flag"
	"math/rand/v2"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/contest"
)

var (
	contestRounds = flag.Int("contest.rounds", 20, "in how many rounds many callers promote the same step at once")
	contestSeed   = flag.Uint64("contest.seed", 0, "what the rounds follow from; 0 takes another each time")
)

// Of a hundred promotes at once that expect the same step, one succeeds and moves the Rollout by one step; all others
// are told 409. That holds wherever the Rollout stands.
func TestManyPromotesOfTheSameStep(t *testing.T) {
	seed := *contestSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat this: -contest.seed=%d -contest.rounds=%d", seed, *contestRounds)
	s := start(t, newNamespace(t), t.TempDir())
	c, err := contest.New(t.Context(), s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault), "contested", seed)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for range *contestRounds {
		round, err := c.Round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		states[round.State]++
	}
	t.Logf("rounds by what the Rollout waited for: %v", states)
}
