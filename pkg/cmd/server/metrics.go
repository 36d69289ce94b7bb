// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// served is the certificate of the server that was started last in this process; nil before that.
var served atomic.Pointer[dynamiccertificates.CertKeyContentProvider]

var (
	certificateExpiration = metrics.NewGaugeFunc(&metrics.GaugeOpts{
		Subsystem:      "sluice",
		Name:           "serving_certificate_expiration_timestamp_seconds",
		Help:           "When the certificate that is served expires, in seconds since 1970. The server replaces its own certificate when a third of its time is left; one from files is whoever's who puts it there.",
		StabilityLevel: metrics.ALPHA,
	}, expiration)

	etcdQuota = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      "sluice",
		Name:           "embedded_etcd_quota_bytes",
		Help:           "The size of the database of the embedded etcd, in bytes, beyond which it takes no more writes. 0 with another etcd. The size itself is apiserver_storage_size_bytes.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics registers the metrics of this package, once per process.
var registerMetrics = sync.OnceFunc(func() { legacyregistry.RawMustRegister(certificateExpiration); legacyregistry.MustRegister(etcdQuota) })

// setQuota tells how large the database of the embedded etcd may become.
func setQuota(bytes float64) {
	registerMetrics()
	etcdQuota.Set(bytes)
}

// observeServing has the metrics tell of a certificate.
func observeServing(certificate dynamiccertificates.CertKeyContentProvider) {
	served.Store(&certificate)
	registerMetrics()
}

// expiration is when what is served expires; 0 if there is nothing, or nothing that can be read.
func expiration() float64 {
	provider := served.Load()
	if provider == nil {
		return 0
	}
	pem, _ := (*provider).CurrentCertKeyContent()
	chain, err := cert.ParseCertsPEM(pem)
	if err != nil {
		return 0
	}
	return float64(chain[0].NotAfter.Unix())
}
