// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install adds every version of the API group to a scheme.
package install

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Install adds the group, with its versions in order of preference, to a scheme.
func Install(scheme *runtime.Scheme) {
	utilruntime.Must(rollouts.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(scheme.SetVersionPriority(v1alpha1.SchemeGroupVersion))
}
