// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ownerguard keeps a store that lost writes from answering.
//
// The garbage collector of the host cluster deletes a ReplicaSet whose owner is not found, and one
// empty list is enough for it to believe so; a store that was put back from an older copy would have
// the controller scale pods to where they were. So the server answers no request for a resource until
// it is certain that its store is the one that the host knows, with everything that the host has seen
// of it.
//
// The pieces: Gate refuses requests; Store is our record inside the store, with the tombstones;
// Host is the copy of that record in a ConfigMap, and the ReplicaSets; Mirror raises both records;
// Guard collects the evidence, lets engine.JudgeStore decide, and opens the gate.
//
// The package may import client-go, apimachinery, the etcd client and pkg/engine.
package ownerguard
