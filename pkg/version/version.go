// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package version says which version of Sluice a binary is. It is not that of component-base, which the
// libraries of the API server take for the version of Kubernetes whose features they are to offer.
package version

// Version is set by the build: -ldflags "-X sluice.dev/sluice/pkg/version.Version=v1.2.3".
var Version = "v0.0.0-dev"
