// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

var (
	anyReplicas = rapid.OneOf(rapid.Int32Range(0, 12), rapid.Int32Range(1, 5))
	anyImage    = rapid.SampledFrom([]string{"v1", "v2", "v3", "v4", "bad1", "bad2"})
	anySleep    = rapid.SampledFrom([]time.Duration{time.Microsecond, 300 * time.Millisecond, time.Second, 5 * time.Second, time.Minute, 11 * time.Minute})
	anyBounds   = rapid.SampledFrom([][2]string{{"25%", "25%"}, {"1", "0"}, {"0", "1"}, {"100%", "0"}, {"0", "50%"}, {"2", "2"}, {"0%", "0%"}, {"0", "100%"}})
	anySteps    = rapid.SliceOfN(rapid.Custom(anyStep), 0, 5)
)

var anyAntiAffinity = rapid.SampledFrom([]*rollouts.AntiAffinity{nil, required, preferred})

// serviceNames are the Services that a Rollout may name.
var serviceNames = []string{"one", "two"}

// anyServices are the names of stableService and canaryService.
var anyServices = rapid.SampledFrom([][2]string{{"", ""}, {"one", ""}, {"", "two"}, {"one", "two"}, {"two", "one"}, {"one", "two"}})

func anyThreshold(t *rapid.T) *rollouts.ReplicaProgressThreshold {
	switch rapid.IntRange(0, 2).Draw(t, "threshold") {
	case 0:
		return &rollouts.ReplicaProgressThreshold{Type: rollouts.ProgressThresholdPercent, Value: rapid.Int32Range(1, 100).Draw(t, "percent")}
	case 1:
		return &rollouts.ReplicaProgressThreshold{Type: rollouts.ProgressThresholdPods, Value: rapid.Int32Range(1, 6).Draw(t, "pods")}
	default:
		return nil
	}
}

func anyStep(t *rapid.T) rollouts.CanaryStep {
	if rapid.Bool().Draw(t, "weight") {
		return weight(rapid.OneOf(rapid.Int32Range(0, 100), rapid.SampledFrom([]int32{0, 20, 50, 100})).Draw(t, "setWeight"))
	}
	if rapid.IntRange(0, 5).Draw(t, "approval") == 0 {
		return approval(rapid.Int32Range(1, 2).Draw(t, "required"))
	}
	return pause(rapid.SampledFrom([]string{"", "", "0", "1", "10s", "20m"}).Draw(t, "pause"))
}

func anyRollout(t *rapid.T) *rollouts.Rollout {
	b := anyBounds.Draw(t, "bounds")
	r := bounded(rollout(anyReplicas.Draw(t, "replicas"), anySteps.Draw(t, "steps")...), b[0], b[1])
	r.Spec.Template.Spec.Containers[0].Image = anyImage.Draw(t, "image")
	r.Spec.MinReadySeconds = rapid.SampledFrom([]int32{0, 0, 3}).Draw(t, "minReadySeconds")
	r.Spec.ProgressDeadlineAbort = rapid.Bool().Draw(t, "progressDeadlineAbort")
	names := anyServices.Draw(t, "services")
	r.Spec.Strategy.Canary.StableService, r.Spec.Strategy.Canary.CanaryService = names[0], names[1]
	r.Spec.Strategy.Canary.ReplicaProgressThreshold = anyThreshold(t)
	r.Spec.Strategy.Canary.StableMetadata, r.Spec.Strategy.Canary.CanaryMetadata = anyMetadata(t), anyMetadata(t)
	r.Spec.Strategy.Canary.AntiAffinity = anyAntiAffinity.Draw(t, "antiAffinity")
	r.Spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: rapid.Int32Range(0, 2).Draw(t, "rollbackWindow")}
	return r
}
