// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"testing"

	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/suite"
)

// local is the control plane of all tests.
var local *cluster.Cluster

func TestMain(m *testing.M) {
	suite.Suite{
		Title:     "tests with real pods",
		Directory: "SLUICE_REAL_DIR",
		Options:   cluster.Options{Real: true},
		Begin: func(c *cluster.Cluster) error {
			local = c
			return nil
		},
	}.Main(m)
}
