// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"math"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

func canary(change func(*rollouts.CanaryStrategy)) func(*rollouts.Rollout) {
	return func(r *rollouts.Rollout) { change(r.Spec.Strategy.Canary) }
}

func blueGreen(change func(*rollouts.BlueGreenStrategy)) func(*rollouts.Rollout) {
	return func(r *rollouts.Rollout) {
		r.Spec.Strategy = rollouts.RolloutStrategy{BlueGreen: &rollouts.BlueGreenStrategy{ActiveService: "web"}}
		change(r.Spec.Strategy.BlueGreen)
	}
}

func affinity(weight int32) *rollouts.AntiAffinity {
	return &rollouts.AntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: &rollouts.PreferredAntiAffinity{Weight: weight}}
}

func labelled(labels map[string]string) *rollouts.PodTemplateMetadata {
	return &rollouts.PodTemplateMetadata{Labels: labels}
}

func enough(kind rollouts.ProgressThresholdType, value int32) func(*rollouts.Rollout) {
	return canary(func(c *rollouts.CanaryStrategy) {
		c.ReplicaProgressThreshold = &rollouts.ReplicaProgressThreshold{Type: kind, Value: value}
	})
}

func TestValidateStrategy(t *testing.T) {
	const atCanary, atBlueGreen = "spec.strategy.canary.", "spec.strategy.blueGreen."
	for _, test := range []struct {
		rule   string
		change func(*rollouts.Rollout)
		// fields are those of the errors, in any order; none if it is valid.
		fields []string
	}{
		{"blueGreen", blueGreen(func(*rollouts.BlueGreenStrategy) {}), nil},
		{"both strategies", func(r *rollouts.Rollout) {
			r.Spec.Strategy.BlueGreen = &rollouts.BlueGreenStrategy{ActiveService: "web"}
		}, []string{"spec.strategy"}},
		{"blueGreen without a Service", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.ActiveService = "" }), []string{atBlueGreen + "activeService"}},
		{"a name that no Service can have", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.ActiveService = "Web_1" }), []string{atBlueGreen + "activeService"}},
		{"one Service for both", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.PreviewService = "web" }), []string{atBlueGreen + "previewService"}},
		{"two Services", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.PreviewService = "web-preview" }), nil},
		{"a preview of nobody", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.PreviewReplicaCount = ptr.To[int32](0) }), []string{atBlueGreen + "previewReplicaCount"}},
		{"a preview of more than replicas", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.PreviewReplicaCount = ptr.To[int32](50) }), nil},
		{"negative times", blueGreen(func(b *rollouts.BlueGreenStrategy) {
			b.AutoPromotionSeconds, b.ScaleDownDelaySeconds, b.AbortScaleDownDelaySeconds = ptr.To[int32](-1), ptr.To[int32](-1), ptr.To[int32](-1)
		}), []string{atBlueGreen + "abortScaleDownDelaySeconds", atBlueGreen + "autoPromotionSeconds", atBlueGreen + "scaleDownDelaySeconds"}},
		{"times of 0", blueGreen(func(b *rollouts.BlueGreenStrategy) {
			b.AutoPromotionSeconds, b.ScaleDownDelaySeconds, b.AbortScaleDownDelaySeconds = ptr.To[int32](0), ptr.To[int32](0), ptr.To[int32](0)
		}), nil},
		{"as many old revisions as are kept", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.ScaleDownDelayRevisionLimit = ptr.To[int32](10) }), nil},
		{"more old revisions than are kept", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.ScaleDownDelayRevisionLimit = ptr.To[int32](11) }), []string{atBlueGreen + "scaleDownDelayRevisionLimit"}},
		{"a negative number of them", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.ScaleDownDelayRevisionLimit = ptr.To[int32](-1) }), []string{atBlueGreen + "scaleDownDelayRevisionLimit"}},
		{"more unavailable than there are", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.MaxUnavailable = ptr.To(intstr.FromString("101%")) }), []string{atBlueGreen + "maxUnavailable"}},
		{"nobody unavailable", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.MaxUnavailable = ptr.To(intstr.FromInt32(0)) }), nil},
		{"more pods than can be counted", func(r *rollouts.Rollout) {
			blueGreen(func(*rollouts.BlueGreenStrategy) {})(r)
			r.Spec.Replicas = ptr.To[int32](math.MaxInt32/2 + 1)
		}, []string{"spec.replicas"}},
		{"metadata of blueGreen", blueGreen(func(b *rollouts.BlueGreenStrategy) {
			b.ActiveMetadata, b.PreviewMetadata = labelled(map[string]string{"role": "active"}), labelled(map[string]string{"role": "-"})
		}), []string{atBlueGreen + "previewMetadata.labels"}},

		{"Services of a canary", canary(func(c *rollouts.CanaryStrategy) { c.CanaryService, c.StableService = "canary", "stable" }), nil},
		{"one of them", canary(func(c *rollouts.CanaryStrategy) { c.StableService = "stable" }), nil},
		{"the same", canary(func(c *rollouts.CanaryStrategy) { c.CanaryService, c.StableService = "web", "web" }), []string{atCanary + "stableService"}},
		{"impossible names", canary(func(c *rollouts.CanaryStrategy) { c.CanaryService, c.StableService = "-", "1" }), []string{atCanary + "canaryService", atCanary + "stableService"}},
		{"a label that tells whose the pods are", canary(func(c *rollouts.CanaryStrategy) { c.CanaryMetadata = labelled(map[string]string{"app": "web"}) }), []string{atCanary + "canaryMetadata.labels[app]"}},
		{"our own label", canary(func(c *rollouts.CanaryStrategy) {
			c.StableMetadata = labelled(map[string]string{rollouts.PodTemplateHashLabel: "x"})
		}), []string{atCanary + "stableMetadata.labels[sluice.dev/pod-template-hash]"}},
		{"an impossible annotation", canary(func(c *rollouts.CanaryStrategy) {
			c.StableMetadata = &rollouts.PodTemplateMetadata{Annotations: map[string]string{"a b": "x"}}
		}), []string{atCanary + "stableMetadata.annotations"}},
		{"anti-affinity of some weight", canary(func(c *rollouts.CanaryStrategy) { c.AntiAffinity = affinity(100) }), nil},
		{"anti-affinity that insists", canary(func(c *rollouts.CanaryStrategy) {
			c.AntiAffinity = &rollouts.AntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &rollouts.RequiredAntiAffinity{}}
		}), nil},
		{"anti-affinity of no kind", canary(func(c *rollouts.CanaryStrategy) { c.AntiAffinity = &rollouts.AntiAffinity{} }), []string{atCanary + "antiAffinity"}},
		{"anti-affinity of both kinds", canary(func(c *rollouts.CanaryStrategy) {
			c.AntiAffinity = affinity(1)
			c.AntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &rollouts.RequiredAntiAffinity{}
		}), []string{atCanary + "antiAffinity"}},
		{"anti-affinity of no weight", blueGreen(func(b *rollouts.BlueGreenStrategy) { b.AntiAffinity = affinity(0) }),
			[]string{atBlueGreen + "antiAffinity.preferredDuringSchedulingIgnoredDuringExecution.weight"}},

		{"half of the pods", enough("Percent", 50), nil},
		{"all of the pods", enough("Percent", 100), nil},
		{"more than all", enough("Percent", 101), []string{atCanary + "replicaProgressThreshold.value"}},
		{"none of the pods", enough("Percent", 0), []string{atCanary + "replicaProgressThreshold.value"}},
		{"many pods", enough("Pods", 1000), nil},
		{"no pod", enough("Pods", 0), []string{atCanary + "replicaProgressThreshold.value"}},
		{"another way to count", enough("Nodes", 1), []string{atCanary + "replicaProgressThreshold.type"}},

		{"a rollback window", func(r *rollouts.Rollout) { r.Spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: 3} }, nil},
		{"no rollback window", func(r *rollouts.Rollout) { r.Spec.RollbackWindow = &rollouts.RollbackWindow{} }, nil},
		{"a negative one", func(r *rollouts.Rollout) { r.Spec.RollbackWindow = &rollouts.RollbackWindow{Revisions: -1} }, []string{"spec.rollbackWindow.revisions"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			r := validRollout()
			test.change(r)
			errs := ValidateRollout(r)
			var fields []string
			for _, err := range errs {
				fields = append(fields, err.Field)
			}
			slices.Sort(fields)
			if got, want := strings.Join(fields, " "), strings.Join(test.fields, " "); got != want {
				t.Errorf("errors at %q, want %q: %v", got, want, errs)
			}
		})
	}
}
