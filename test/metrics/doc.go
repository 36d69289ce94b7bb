// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command metrics writes docs/metrics.md from the definitions of the metrics in the source, and from the alert rules.
// Its tests hold what watches Sluice, the rules and the dashboard, against Prometheus' own tool.
package main
