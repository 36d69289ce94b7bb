// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certmanager pins the version of cert-manager whose CustomResourceDefinitions the tests check the
// manifests in artifacts/components/cert-manager against.
package certmanager

import (
	// Nothing of it is used: it makes the module part of go.mod and go.sum.
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)
