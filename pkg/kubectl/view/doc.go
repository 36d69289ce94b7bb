// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package view turns objects into lines of text: the header and the tree of one Rollout, the rows of a list
// of them, plans, explanations and histories. It is pure: what it is given decides what it returns, the time of the ages and the colours
// included, so every line of it can be tested as a table. It imports the API types, never a client.
package view
