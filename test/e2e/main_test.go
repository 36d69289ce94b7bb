// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"

	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/rbac"
	"sluice.dev/sluice/test/suite"
)

const (
	// atOnce is how many tests run at the same time. They wait more than they work.
	atOnce = 8
	// logLines is how much of the server's log is shown when something failed.
	logLines = 60
)

// local is the control plane of all tests.
var local *cluster.Cluster

func TestMain(m *testing.M) {
	suite.Suite{
		Title:     "the end-to-end tests",
		Directory: "SLUICE_E2E_DIR",
		Begin: func(c *cluster.Cluster) error {
			local = c
			return raiseParallel()
		},
		End: func(code int, stays bool) error {
			if code != 0 {
				showLog(local, cluster.Server)
			}
			if code != 0 || stays {
				return nil
			}
			return rbac.Hold(local, rbac.Alone)
		},
	}.Main(m)
}

// raiseParallel raises the number of tests at the same time, which defaults to that of the cores, unless it
// was given.
func raiseParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(atOnce))
}

func showLog(c *cluster.Cluster, name string) {
	component, err := c.Component(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	lines, err := component.LastLines(logLines)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Fprintf(os.Stderr, "the last lines of %s:\n%s\n", component.Log, lines)
}
