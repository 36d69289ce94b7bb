// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command conformance writes docs/conformance.md: each behaviour that the end-to-end tests of Argo Rollouts show,
// and the test that shows it here on a real control plane, or why it is otherwise here.
//
// A test names what it shows in its comment, as "Reference: 3.2 TestBlueGreenUpdate"; the behaviours are listed in
// behaviours.go. It imports only the standard library.
package main
