// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reliability is the table of docs/reliability.md: what the tests of faults have done, how often, and what
// was lost. A test of a fault records a Row. With -reliability.write, as "make reliability" has it, the row goes into
// the document; else the document is held against it. It is imported by tests only.
package reliability
