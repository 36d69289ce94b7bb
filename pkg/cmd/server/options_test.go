// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"
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

func TestMembersThatCannotFormAClusterAreRefused(t *testing.T) {
	three := []string{"m0=10.0.0.1", "m1=10.0.0.2", "m2=m2.example.com"}
	for _, tc := range []struct {
		rule   string
		change func(*MemberOptions)
		says   string
	}{
		{"a server that is alone", func(m *MemberOptions) { m.Name, m.All = "", nil }, ""},
		{"one of three", func(*MemberOptions) {}, ""},
		{"three, and this is none", func(m *MemberOptions) { m.Name = "" }, "--member, the name of this one"},
		{"another name", func(m *MemberOptions) { m.Name = "m3" }, "none of --members"},
		{"no host", func(m *MemberOptions) { m.All = append(three[:2:2], "m2=") }, "NAME=HOST"},
		{"no name", func(m *MemberOptions) { m.All = append(three[:2:2], "10.0.0.3") }, "NAME=HOST"},
		{"a host with a port", func(m *MemberOptions) { m.All = append(three[:2:2], "m2=10.0.0.3:2380") }, "neither a DNS name nor an address"},
		{"a name twice", func(m *MemberOptions) { m.All = append(three[:2:2], "m1=10.0.0.3") }, "twice"},
		{"one port for both", func(m *MemberOptions) { m.ClientPort = m.PeerPort }, "must differ"},
		{"no port", func(m *MemberOptions) { m.PeerPort = 0 }, "between 1 and 65535"},
		{"the loss is accepted for somebody else's cluster", func(m *MemberOptions) { m.AcceptQuorumLoss = "m3" }, "--accept-quorum-loss"},
		{"the loss is accepted for one", func(m *MemberOptions) { m.AcceptQuorumLoss = "m2" }, ""},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			options := NewOptions()
			options.Member.Name, options.Member.All = "m1", three
			tc.change(&options.Member)
			err := options.Validate()
			if (tc.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want an error about %q", err, tc.says)
			}
		})
	}
}

// docs/operations.md tells how many requests are served at once.
func TestLimitsAreDocumented(t *testing.T) {
	document, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	options := NewOptions()
	for flag, value := range map[string]any{
		"max-requests-inflight":          options.ServerRun.MaxRequestsInFlight,
		"max-mutating-requests-inflight": options.ServerRun.MaxMutatingRequestsInFlight,
	} {
		if row := fmt.Sprintf("`--%s` | %v |", flag, value); !strings.Contains(string(document), row) {
			t.Errorf("docs/operations.md does not have %q", row)
		}
	}
	if row := fmt.Sprintf("`--enable-priority-and-fairness` | %t |", options.Recommended.Features.EnablePriorityAndFairness); !strings.Contains(string(document), row) {
		t.Errorf("docs/operations.md does not have %q", row)
	}
}
