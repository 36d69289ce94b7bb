// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ha tests three replicas of Sluice as the overlay "ha" installs them: pods on a real node, that die with and
// without their disks, are upgraded, and get their certificate from cert-manager, while clients read and write through the
// aggregation layer. What the clients see is measured.
//
// It has a control plane of its own, and needs Linux and root, as its node does. -ha.rounds says how often a replica
// is killed, -ha.interval how much time there is between two deaths. What is under way to a replica that dies is lost, be
// it killed often or rarely; so how many of all requests are lost depends on that time. The package may import
// test/cluster, test/rbac and clients.
package ha
