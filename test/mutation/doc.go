// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mutation tests the tests of the engine: it breaks the engine in a small way, in many ways one after
// another, and expects that the suite of pkg/engine fails each time. It has nothing but tests.
package mutation
