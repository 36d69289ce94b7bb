// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"testing"

	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/rbac"
	"sluice.dev/sluice/test/suite"
)

// local is the control plane of all tests.
var local *cluster.Cluster

func TestMain(m *testing.M) {
	suite.Suite{
		Title:     "tests of three replicas",
		Directory: "SLUICE_HA_DIR",
		Options:   cluster.Options{Real: true},
		Begin: func(c *cluster.Cluster) error {
			local = c
			return nil
		},
		// A figure that was missed says nothing of rights.
		End: func(int, bool) error { return rbac.Hold(local, rbac.Members) },
	}.Main(m)
}
