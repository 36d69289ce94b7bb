// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command coredns is CoreDNS with the plugins that the names of a cluster need, and no others: most of what the
// stock program is made of serves the clouds.
package main

import (
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
)

// plugins are those imported above.
var plugins = []string{"errors", "health", "ready", "loadbalance", "cache", "kubernetes"}

func main() {
	// The order in which plugins are asked is that of CoreDNS; a name that it does not know would be an error.
	dnsserver.Directives = slices.DeleteFunc(slices.Clone(dnsserver.Directives), func(name string) bool {
		return !slices.Contains(plugins, name)
	})
	coremain.Run()
}
