// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install has the tests of what is installed: the overlays, the chart and the image. It is a Go module of
// its own, so that what renders and reads them, Helm, kustomize and the parser of Dockerfiles, is no dependency of
// Sluice. It may import test/cluster, and nothing else of Sluice.
package install
