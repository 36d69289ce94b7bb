// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package figures makes numbers out of measurements and a table out of numbers. It is pure and imports
// only the standard library.
package figures
