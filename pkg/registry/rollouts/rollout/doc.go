// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout stores Rollouts and serves their subresources: it maps requests to transitions of the
// engine, and nothing of what a Rollout does is decided here. Each verb is a row of verbs.go on one
// generic REST (verb.go). It may import the hub types, their validation, the engine, and the libraries
// of the API server; the host is reached only through TemplateResolver.
package rollout
