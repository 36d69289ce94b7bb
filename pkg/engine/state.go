// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// SameState says whether a person who looked at a would recognise it in b: the same spec and revision, at
// the same step, neither aborted nor promoted in between. Counts and conditions may differ.
func SameState(a, b *rollouts.Rollout) bool {
	return a.UID == b.UID &&
		a.Generation == b.Generation &&
		a.Status.Revision == b.Status.Revision &&
		a.Status.CurrentPodHash == b.Status.CurrentPodHash &&
		ptr.Equal(a.Status.CurrentStepIndex, b.Status.CurrentStepIndex) &&
		a.Status.Abort == b.Status.Abort &&
		promotedOn(a) == promotedOn(b) &&
		a.Status.PromoteFull == b.Status.PromoteFull
}
