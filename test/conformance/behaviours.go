// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

// section is a group of behaviours: a file of the tests that show them.
type section struct {
	number, title string
	behaviours    []behaviour
}

// behaviour is what users rely on.
type behaviour struct {
	// name is that of the test that shows it.
	name string
	// what it is.
	what string
	// differs is why it is otherwise here; empty if it is not.
	differs string
}

const (
	needsRouter   = "Needs a traffic router, which is not served yet; its fields are refused by name."
	needsAnalysis = "Needs analysis, which is not served yet; its fields are refused by name."
)

// Source: reference sections 3.1 to 3.4.
var sections = []section{
	{"3.1", "Canary", []behaviour{
		{"TestCanarySetCanaryScale", "`setCanaryScale` sets the number of canary pods apart from the weight", needsRouter},
		{"TestRolloutScalingWhenPaused", "a change of replicas at a pause keeps the proportion of the step", ""},
		{"TestRolloutWithMaxSurgeScalingDuringUpdate", "a change of replicas in the middle of a rolling update stays within maxSurge", ""},
		{"TestRolloutScalingDuringUpdate", "so it does while the new version crashes", ""},
		{"TestReduceWeightAndHonorMaxUnavailable", "a lower weight never takes pods below maxUnavailable", ""},
		{"TestEphemeralMetadata", "`canaryMetadata` and `stableMetadata` are put on pods in place, and swapped when the canary becomes stable", ""},
		{"TestCanaryProgressDeadlineExceededWithPause", "Degraded by the deadline recovers by itself, and a pause is no deadline", ""},
		{"TestCanaryScaleDownDelayWithProgressDeadline", "waiting for a delayed scale-down is no deadline", needsRouter},
		{"TestCanaryScaleDownDelay", "the old ReplicaSet keeps its pods for `scaleDownDelaySeconds`", needsRouter},
		{"TestCanaryScaleDownOnAbort", "an aborted canary behind a router goes after `abortScaleDownDelaySeconds`", needsRouter},
		{"TestCanaryScaleDownOnAbortNoTrafficRouting", "an aborted canary goes at once, and the Services lead to stable", ""},
		{"TestCanaryWithPausedRollout", "a new version in the middle of an update drops the intermediate one", ""},
		{"TestCanaryUnScaleDownOnAbort", "`abortScaleDownDelaySeconds: 0` keeps an aborted canary", needsRouter},
		{"TestCanaryDynamicStableScale", "the stable ReplicaSet shrinks as its traffic does", needsRouter},
		{"TestCanaryDynamicStableScaleAbortScaleDownDelay", "and grows before traffic comes back", needsRouter},
		{"TestCanaryDynamicStableScaleRollbackToStable", "so it does at a rollback", needsRouter},
		{"TestCanaryWithSpecPause", "`spec.paused` on a Healthy Rollout is Paused, with no flapping of conditions", ""},
	}},
	{"3.2", "Functional", []behaviour{
		{"TestRolloutAbortRetryPromote", "abort, retry, and on to Healthy; the events tell of it", ""},
		{"TestCanaryPromoteFull", "a full promotion skips what is left, also after an abort", ""},
		{"TestBlueGreenPromoteFull", "a full promotion of a blueGreen update skips its pause", ""},
		{"TestRolloutRestart", "a restart replaces at most maxUnavailable pods at a time", ""},
		{"TestRolloutPDBRestart", "a restart honours PodDisruptionBudgets, and goes on when they allow it", ""},
		{"TestRolloutPodVolumesItemsSpec", "a pod volume with a field called `items` is no list", ""},
		{"TestMalformedRollout", "an object that cannot be decoded does no harm to others", "Nothing of the kind can be stored: it is refused with the path of the field."},
		{"TestMalformedRolloutEphemeralCtr", "nor does one with invalid ephemeral containers", "Nothing of the kind can be stored: it is refused with the path of the field."},
		{"TestContainerResourceFormats", "quantities are accepted in every format", ""},
		{"TestRolloutGoodToBadUpdate", "a bad version is Degraded and takes no stable pod; so is the next bad one", ""},
		{"TestRolloutBadToGoodUpdate", "a first version that never worked is replaced at once", ""},
		{"TestRolloutBadToBadUpdate", "a bad version replaced by another bad one stays within maxSurge", ""},
		{"TestRolloutBadToGoodSetWeightUpdate", "steps do not apply while there is no stable version", ""},
		{"TestBlueGreenUpdate", "the new version comes up in full, the Service is switched, the old one lingers", ""},
		{"TestBlueGreenToCanary", "a change of strategy keeps the pods, and takes the hash out of the Service", ""},
		{"TestFixInvalidSpec", "what a Rollout refers to may be made later: it heals by itself", ""},
		{"TestBlueGreenScaleDownDelay", "`scaleDownDelaySeconds` and `scaleDownDelayRevisionLimit` say which old versions linger", ""},
		{"TestBlueGreenExceedProgressDeadlineAbort", "`progressDeadlineAbort` aborts an update that does not get ready", ""},
		{"TestBlueGreenScaleDownOnAbort", "an aborted preview goes after `abortScaleDownDelaySeconds`", ""},
		{"TestKubectlWaitForPaused", "`kubectl wait --for=condition=Paused` works", ""},
		{"TestCompleteRolloutRestart", "a restart long after the deadline is no deadline", ""},
		{"TestKubectlWaitForCompleted", "`kubectl wait --for=condition=Healthy` works", ""},
		{"TestWorkloadRefTemplate", "a template beside `workloadRef` is invalid", ""},
		{"TestWorkloadRef", "a Rollout takes its template from a Deployment", ""},
		{"TestControllerMetrics", "metrics are served", ""},
		{"TestRolloutPauseDurationGreaterThanProgressDeadlineSeconds", "a pause longer than the deadline is never Degraded", ""},
		{"TestScaleDownOnSuccess", "`scaleDown: onsuccess` takes the Deployment to 0 when Healthy", ""},
		{"TestScaleDownProgressively", "`scaleDown: progressively` does so pod by pod", ""},
		{"TestScaleDownProgressivelyCompleted", "and leaves the Deployment at 0 afterwards", ""},
		{"TestScaleDownProgressivelyCompletedCanary", "so it does with canary", ""},
		{"TestNeverScaleDown", "`scaleDown: never` leaves the Deployment alone", ""},
		{"TestSpecAndReplicaChangeSameTime", "template and replicas may change in one write", ""},
	}},
	{"3.3", "Blue-green", []behaviour{
		{"TestEphemeralMetadata", "`activeMetadata` and `previewMetadata` are put on pods in place, and swapped at the switch", ""},
		{"TestBlueGreenProgressDeadlineExceededWithPause", "Degraded by the deadline recovers by itself, and pauses", ""},
		{"TestBlueGreenProgressDeadlineExceededWithoutPause", "and without a pause goes on to Healthy", ""},
		{"TestBlueGreenPreviewReplicaCount", "`previewReplicaCount` pods before promotion, all of them before the switch", ""},
		{"TestBlueGreenPreviewReplicaCountPromoteFull", "a full promotion brings them up first", ""},
	}},
	{"3.4", "Rollback window", []behaviour{
		{"TestRollbackAnalysisWithinWindow", "going back within the window skips the steps", ""},
		{"TestRollbackAnalysisOutsideWindow", "going back further takes them", ""},
	}},
}
