// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration runs the server in the process of the tests, with its embedded etcd and the race
// detector, against a real host cluster. What needs the server to be killed, or the host to aggregate it, is
// in package e2e.
package integration
