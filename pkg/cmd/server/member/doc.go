// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package member is what one of several servers needs to be a member of one etcd cluster that they embed:
// Decide, which from what is seen says what to do, so that a cluster is founded exactly once and is never
// founded anew; Disk, what the data directory tells; Host, the claim to found the cluster and the authority
// of the members, kept in the host cluster; Peers, what the other members say, and how to join them;
// Certificate, by which members know each other.
//
// It starts no etcd: pkg/cmd/server does. The package may import client-go, apimachinery, the etcd client and
// the owner guard.
package member
