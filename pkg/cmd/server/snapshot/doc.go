// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package snapshot makes copies of the store, checks them, puts them back, and makes Rollouts anew that no copy has.
//
// A snapshot is what etcd itself sends: its database at one revision, with a SHA-256 appended. Save writes one, File
// reads it, Verify holds every object in it against the types of this server, Restore makes a data directory of it,
// Schedule saves one now and then, and Rebuild brings a store that was put back up to what the host cluster runs.
//
// Everything takes an etcd endpoint, a file or a data directory that the caller has locked: the package starts no etcd.
// It may import the etcd libraries, the storage layer of the API server, client-go, pkg/apis, pkg/apiserver,
// pkg/apiserver/ownerguard and pkg/engine.
package snapshot
