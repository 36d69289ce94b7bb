// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"slices"

	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// newBlueGreenMachine is a machine with a blueGreen Rollout that was just created, or is Healthy, or some way into an
// update. Its Services may go, come back, and be taken by another.
func newBlueGreenMachine(t *rapid.T) *machine {
	m := prepareBlueGreen(t)
	m.begin()
	return m
}

// prepareBlueGreen is a machine with a Rollout that was just created, and its Services.
func prepareBlueGreen(t *rapid.T) *machine {
	r := blueGreen(anyReplicas.Draw(t, "replicas"))
	r.Spec.Template.Spec.Containers[0].Image = anyImage.Draw(t, "image")
	r.Spec.MinReadySeconds = rapid.SampledFrom([]int32{0, 0, 3}).Draw(t, "minReadySeconds")
	r.Spec.ProgressDeadlineAbort = rapid.Bool().Draw(t, "progressDeadlineAbort")
	r.Spec.Strategy.BlueGreen = anyBlueGreen.Draw(t, "blueGreen")
	m := prepare(t, r)
	m.edits = m.editBlueGreen
	m.more = map[string]func(*rapid.T){"service": m.meddleWithServices}
	m.addServices()
	return m
}

func (m *machine) addServices() {
	m.AddService("demo-active")
	m.AddService("demo-preview")
}

// healServices brings back the Services that are missing or another's.
func (m *machine) healServices() {
	for _, name := range []string{"demo-active", "demo-preview"} {
		if s := m.Service(name); s == nil || !slices.Contains([]string{"", "demo"}, s.Annotations[rollouts.ManagedByRolloutAnnotation]) {
			m.AddService(name)
		}
	}
}

func (m *machine) meddleWithServices(t *rapid.T) {
	name := rapid.SampledFrom([]string{"demo-active", "demo-preview"}).Draw(t, "Service")
	switch rapid.SampledFrom([]string{"nothing", "remove", "add", "add", "give"}).Draw(t, "how") {
	case "remove":
		m.RemoveService(name)
	case "add":
		if m.Service(name) == nil || rapid.Bool().Draw(t, "anew") {
			m.AddService(name)
		}
	case "give":
		m.GiveService(name, "other")
	}
}

// anyBlueGreen is any strategy on the two Services, of which that for previews may be left out.
var anyBlueGreen = rapid.Custom(func(t *rapid.T) *rollouts.BlueGreenStrategy {
	b := &rollouts.BlueGreenStrategy{ActiveService: "demo-active"}
	if rapid.IntRange(0, 3).Draw(t, "preview") > 0 {
		b.PreviewService = "demo-preview"
	}
	number := func(name string, from ...int32) *int32 {
		if n := rapid.SampledFrom(append(from, -1)).Draw(t, name); n >= 0 {
			return &n
		}
		return nil
	}
	b.PreviewReplicaCount = number("previewReplicaCount", 1, 2, 5)
	b.AutoPromotionEnabled = ptr.To(rapid.Bool().Draw(t, "autoPromotionEnabled"))
	b.AutoPromotionSeconds = number("autoPromotionSeconds", 0, 7, 90)
	b.ScaleDownDelaySeconds = number("scaleDownDelaySeconds", 0, 1, 20, 900)
	b.ScaleDownDelayRevisionLimit = number("scaleDownDelayRevisionLimit", 0, 1, 2)
	b.AbortScaleDownDelaySeconds = number("abortScaleDownDelaySeconds", 0, 1, 20)
	return b
})

func (m *machine) editBlueGreen(t *rapid.T) {
	switch rapid.SampledFrom([]string{"strategy", "strategy", "everything", "other"}).Draw(t, "blueGreen") {
	case "strategy":
		b := anyBlueGreen.Draw(t, "strategy")
		m.Edit("blueGreen", func(spec *rollouts.RolloutSpec) { spec.Strategy.BlueGreen = b })
	case "everything":
		n, name, b := anyReplicas.Draw(t, "replicas"), anyImage.Draw(t, "image"), anyBlueGreen.Draw(t, "strategy")
		m.Edit("replicas, image and blueGreen", func(spec *rollouts.RolloutSpec) {
			scale(n)(spec)
			image(name)(spec)
			spec.Strategy.BlueGreen = b
		})
	case "other":
		switch rapid.SampledFrom([]string{"scale", "scale", "pause", "ready", "deadline"}).Draw(t, "what") {
		case "scale":
			m.Edit("replicas", scale(anyReplicas.Draw(t, "replicas")))
		case "pause":
			m.Edit("paused", func(spec *rollouts.RolloutSpec) { spec.Paused = !spec.Paused })
		case "ready":
			s := rapid.SampledFrom([]int32{0, 0, 3, 30}).Draw(t, "minReadySeconds")
			m.Edit("minReadySeconds", func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = s })
		case "deadline":
			m.Edit("progressDeadlineAbort", func(spec *rollouts.RolloutSpec) { spec.ProgressDeadlineAbort = !spec.ProgressDeadlineAbort })
		}
	}
}

// isPromoted is true if the status says that the update waits for nobody any more.
func isPromoted(st *rollouts.RolloutStatus) bool {
	return st.PromoteFull || st.BlueGreen != nil && st.BlueGreen.ScaleUpPreviewCheckPoint
}
