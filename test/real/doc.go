// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package real tests Sluice as users have it: installed by the manifests that ship, as a pod on a real node, with
// real containers rolled out under constant load from clients that have a new connection for each request. What a
// client sees is what counts: whom it was answered by, and that it was answered.
//
// The tests run on one control plane, each in a namespace of its own: first those that take something away from all,
// one after the other, then the others, as many at a time as there are processors. They need Linux and root, as the
// node does. The package may import test/cluster, test/traffic/report and clients.
package real
