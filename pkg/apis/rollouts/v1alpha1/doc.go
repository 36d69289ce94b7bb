// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the served version of the API group sluice.dev: the types that people write and
// that go over the wire, their defaults, and their protobuf encoding. It imports only apimachinery, the
// API types of Kubernetes and the hub package, so that clients can import it.
//
// +k8s:deepcopy-gen=package
// +k8s:protobuf-gen=package
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=dev.sluice.v1alpha1
// +k8s:conversion-gen=sluice.dev/sluice/pkg/apis/rollouts
// +k8s:defaulter-gen=TypeMeta
// +groupName=sluice.dev
package v1alpha1
