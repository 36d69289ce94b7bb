// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package server turns the flags of sluice-apiserver into options, these into a configuration, and runs it:
// embedded etcd around it, the API server in the middle, the owner guard and the controller beside it. It
// may import pkg/apiserver, the owner guard and the controller.
package server
