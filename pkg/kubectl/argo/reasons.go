// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argo

import "regexp"

// Sources: reference sections 1.1 to 1.5.

// reasons say why a field of Argo's is not carried. They decide nothing: what the types of Sluice serve is carried,
// whatever is written here.
var reasons = map[string]string{
	"spec.workloadRef": "not served: write the template, and the selector, of the workload into the Rollout",
	"spec.analysis":    "analysis is not served, so that there are no runs to keep",

	canary + "trafficRouting":              "traffic routers are not served: a weight is a share of pods",
	canary + "analysis":                    "analysis is not served: nothing measures during the update",
	canary + "scaleDownDelaySeconds":       "goes with trafficRouting, which is not served",
	canary + "scaleDownDelayRevisionLimit": "goes with trafficRouting, which is not served",
	canary + "abortScaleDownDelaySeconds":  "goes with trafficRouting, which is not served",
	canary + "dynamicStableScale":          "goes with trafficRouting, which is not served; without it the stable pods always make room",
	canary + "minPodsPerReplicaSet":        "goes with trafficRouting, which is not served",
	canary + "pingPong":                    "goes with trafficRouting, which is not served: use canaryService and stableService",

	stepsPath + ".analysis":       "analysis is not served: nothing would decide whether to go on; a pause lets people do so",
	stepsPath + ".experiment":     "experiments are not served",
	stepsPath + ".setCanaryScale": "goes with trafficRouting, which is not served: the number of pods follows setWeight",
	stepsPath + ".setHeaderRoute": "goes with trafficRouting, which is not served",
	stepsPath + ".setMirrorRoute": "goes with trafficRouting, which is not served",
	stepsPath + ".plugin":         "step plugins are not served",

	blueGreen + "prePromotionAnalysis":  "analysis is not served: autoPromotionEnabled: false lets people decide before the switch",
	blueGreen + "postPromotionAnalysis": "analysis is not served: nothing measures after the switch",
}

const (
	canary    = "spec.strategy.canary."
	blueGreen = "spec.strategy.blueGreen."
)

// unknown is for what Argo does not serve either, as far as is known here.
const unknown = "Sluice has no such field"

var index = regexp.MustCompile(`\[\d+\]`)

// why says why the field with a path is not carried.
func why(path string) string {
	if reason, ok := reasons[index.ReplaceAllString(path, "")]; ok {
		return reason
	}
	return unknown
}
