// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argo pins the version of Argo Rollouts whose CustomResourceDefinitions the tests install beside Sluice.
package argo

import (
	// Nothing of it is used: it makes the module part of go.mod and go.sum.
	_ "github.com/argoproj/argo-rollouts/pkg/apis/rollouts"
)
