// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const metricsSubsystem = "sluice_snapshot"

var (
	lastSuccess = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "last_success_timestamp_seconds",
		Help:           "When the newest complete snapshot in the folder was taken, in Unix time; 0 if there is none.",
		StabilityLevel: metrics.ALPHA,
	})

	age = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "age_seconds",
		Help:           "How old the newest complete snapshot in the folder was when this was last looked at, once a minute; -1 if there is none.",
		StabilityLevel: metrics.ALPHA,
	})

	attempts = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      metricsSubsystem,
		Name:           "attempts_total",
		Help:           "Number of snapshots that were attempted, by result: success, failure.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})

	kept = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "kept",
		Help:           "Number of complete snapshots in the folder.",
		StabilityLevel: metrics.ALPHA,
	})

	size = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "size_bytes",
		Help:           "Size of the newest complete snapshot in the folder.",
		StabilityLevel: metrics.ALPHA,
	})

	free = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "volume_free_bytes",
		Help:           "What is free on the volume of the snapshots, for a process without privileges.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics registers the metrics of this package, once per process. A server that takes no snapshots has none.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(lastSuccess, age, attempts, kept, size, free)
	for _, result := range []string{"success", "failure"} {
		attempts.WithLabelValues(result)
	}
})
