// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/pkg/controller/rollout"
)

func TestTimesThatNobodyCanBeElectedByAreRefused(t *testing.T) {
	tests := []struct {
		rule                string
		lease, renew, retry time.Duration
		says                string
	}{
		{"the defaults", rollout.DefaultLeaseDuration, rollout.DefaultRenewDeadline, rollout.DefaultRetryPeriod, ""},
		{"a Lease that ends before its leader gives up", 2 * time.Second, 2 * time.Second, time.Second, "--leader-elect-lease-duration"},
		{"a leader with time for one attempt only", 3 * time.Second, 2 * time.Second, 2 * time.Second, "--leader-elect-renew-deadline"},
		{"attempts without a pause", 3 * time.Second, 2 * time.Second, 0, "--leader-elect-retry-period"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			options := NewOptions()
			options.LeaderElection = rollout.LeaderElection{LeaseDuration: test.lease, RenewDeadline: test.renew, RetryPeriod: test.retry}
			err := options.Validate()
			if (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error about %q", err, test.says)
			}
		})
	}
}

func TestAQuotaThatNothingFitsIntoIsRefused(t *testing.T) {
	options := NewOptions()
	options.EtcdQuotaBytes = minEtcdQuotaBytes - 1
	if err := options.Validate(); err == nil || !strings.Contains(err.Error(), "--embedded-etcd-quota-bytes must be at least 16777216") {
		t.Errorf("got %v, want an error that names the flag and the least", err)
	}
	options.EtcdQuotaBytes = minEtcdQuotaBytes
	if err := options.Validate(); err != nil {
		t.Error(err)
	}
}
