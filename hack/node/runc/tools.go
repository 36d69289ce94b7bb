// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package runc pins what starts the containers of the real node of the local control plane.
package runc

import _ "github.com/opencontainers/runc"
