// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var storeVerdict = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Subsystem: "sluice",
	Name:      "store_verdict",
	Help: "1 for what the owner guard holds the store for, 0 for the others: accepted, requests are answered; refused, it is not the store that the host cluster knows; " +
		"unknown, it could not be judged yet. Unless it is accepted every request for Rollouts is answered with 503.",
	StabilityLevel: metrics.ALPHA,
}, []string{"verdict"})

// registerMetrics registers the metrics of this package, once per process.
var registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(storeVerdict) })

// The verdicts that sluice_store_verdict tells.
const (
	verdictAccepted = "accepted"
	verdictRefused  = "refused"
	verdictUnknown  = "unknown"
)

// setVerdict makes one of the verdicts the present one.
func setVerdict(now string) {
	for _, verdict := range []string{verdictAccepted, verdictRefused, verdictUnknown} {
		value := 0.0
		if verdict == now {
			value = 1
		}
		storeVerdict.WithLabelValues(verdict).Set(value)
	}
}
