// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

// WorkloadScaleDown says what becomes of the pods of a Deployment that a Rollout takes its template from.
type WorkloadScaleDown string

const (
	// WorkloadScaleDownNever: the size of the Deployment is left alone.
	WorkloadScaleDownNever WorkloadScaleDown = "never"
	// WorkloadScaleDownOnSuccess: it is scaled to 0 when the Rollout is Healthy for the first time.
	WorkloadScaleDownOnSuccess WorkloadScaleDown = "onsuccess"
	// WorkloadScaleDownProgressively: it is scaled down as pods of the Rollout become available.
	WorkloadScaleDownProgressively WorkloadScaleDown = "progressively"
)

// WorkloadRef names a Deployment and says what becomes of its pods.
type WorkloadRef struct {
	// apiVersion is that of the Deployment: apps/v1. Anything else is refused as NotSupported.
	APIVersion string

	// kind is Deployment. Anything else is refused as NotSupported.
	Kind string

	// name is that of the Deployment, in the namespace of the Rollout.
	Name string

	// scaleDown says what becomes of the pods of the Deployment. never leaves them alone. onsuccess scales it to 0
	// when the Rollout is Healthy for the first time. progressively keeps as many of them as replicas lacks in
	// available pods of the Rollout, never more than there were, and none once that is Healthy. Either is done once
	// for a Deployment: one that has pods again afterwards is left alone, and explain says so. Default never.
	ScaleDown WorkloadScaleDown
}
