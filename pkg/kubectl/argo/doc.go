// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argo turns Rollouts of Argo's API group into those of sluice.dev. What is carried is read off the served
// types, so that a field is carried from the day it is served; what is not is named. It knows nothing of clusters. It
// imports the API types, their validation and apimachinery.
package argo
