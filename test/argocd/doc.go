// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argocd runs the Lua scripts that ship for Argo CD, in the Lua that Argo CD runs them in and with what it
// lets them use, and makes the entries of its ConfigMap of them.
package argocd
