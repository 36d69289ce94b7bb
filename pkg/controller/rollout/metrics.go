// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	// The metrics of the leader election, of clients and of the work queue register themselves.
	_ "k8s.io/component-base/metrics/prometheus/clientgo/leaderelection"
	_ "k8s.io/component-base/metrics/prometheus/restclient"
	_ "k8s.io/component-base/metrics/prometheus/workqueue"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

const metricsSubsystem = "sluice"

var (
	reconcileDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem:      metricsSubsystem,
		Name:           "reconcile_duration_seconds",
		Help:           "How long one look at a Rollout took, with its writes, by result: done, wait (for the caches to show the last write), conflict, refused (by the host), error.",
		Buckets:        metrics.ExponentialBuckets(0.0005, 2, 15),
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})

	rolloutPhases = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "rollouts",
		Help:           "Number of Rollouts by phase and strategy. Every replica of the server reports all of them: take the maximum, not the sum.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"phase", "strategy"})

	decisionDuration = metrics.NewHistogram(&metrics.HistogramOpts{
		Subsystem:      metricsSubsystem,
		Name:           "decision_duration_seconds",
		Help:           "How long it took to decide what becomes of one Rollout, by what is known of it and without any write.",
		Buckets:        metrics.ExponentialBuckets(0.00001, 4, 10),
		StabilityLevel: metrics.ALPHA,
	})

	changeToHostWrite = metrics.NewHistogram(&metrics.HistogramOpts{
		Subsystem:      metricsSubsystem,
		Name:           "spec_change_to_host_write_seconds",
		Help:           "From when the leader saw a change of the spec of a Rollout to the first write to the host cluster that it led to. Changes that lead to none are not counted.",
		Buckets:        metrics.ExponentialBuckets(0.001, 2, 16),
		StabilityLevel: metrics.ALPHA,
	})

	hostWrites = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      metricsSubsystem,
		Name:           "host_writes_total",
		Help:           "Number of writes sent to the host cluster, also those that it refused, by verb and resource. The Lease is not counted.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"verb", "resource"})

	statusWrites = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      metricsSubsystem,
		Name:           "status_writes_total",
		Help:           "Number of writes of the status of a Rollout, also those that failed.",
		StabilityLevel: metrics.ALPHA,
	})

	leader = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      metricsSubsystem,
		Name:           "leader",
		Help:           "1 on the replica of the server that acts on Rollouts, 0 on the others.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics registers the metrics of this package, once per process.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(reconcileDuration, decisionDuration, changeToHostWrite, rolloutPhases, hostWrites, statusWrites, leader)
})

// phaseLabel keeps the label values of sluice_rollouts few, whatever is stored.
func phaseLabel(r *v1alpha1.Rollout) string {
	switch phase := r.Status.Phase; phase {
	case v1alpha1.RolloutPhaseProgressing, v1alpha1.RolloutPhasePaused, v1alpha1.RolloutPhaseHealthy, v1alpha1.RolloutPhaseDegraded:
		return string(phase)
	}
	return "Unknown"
}

// strategyLabel is the strategy of a Rollout, of which exactly one is set.
func strategyLabel(r *v1alpha1.Rollout) string {
	if r.Spec.Strategy.BlueGreen != nil {
		return "blueGreen"
	}
	return "canary"
}
