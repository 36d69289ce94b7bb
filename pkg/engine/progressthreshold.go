// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Source: reference sections 1.2 (C18) and 2.4.

// enough is how many of the new pods that a step asks for must be available for it to be done: all of them, unless
// replicaProgressThreshold asks for fewer.
func enough(r *rollouts.Rollout, wanted int32) int32 {
	t := ptr.Deref(r.Spec.Strategy.Canary, rollouts.CanaryStrategy{}).ReplicaProgressThreshold
	switch {
	case t == nil:
		return wanted
	case t.Type == rollouts.ProgressThresholdPods:
		return min(max(t.Value, 0), wanted)
	default:
		return min(ceilDiv(int64(wanted)*int64(max(t.Value, 0)), int64(fullWeight)), wanted)
	}
}
