// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// podInfo is what stands in the last column of the tree.
func podInfo(pod *v1alpha1.TreePod) string {
	info := fmt.Sprintf("ready:%d/%d", pod.ReadyContainers, pod.Containers)
	if pod.Restarts > 0 {
		info += fmt.Sprintf(",restarts:%d", pod.Restarts)
	}
	return info
}

// podStatus puts a mark in front of the word for a pod. A word that is not known here is an error of a
// container.
func podStatus(pod *v1alpha1.TreePod) status {
	word := pod.Status
	switch word {
	case "Running":
		if pod.ReadyContainers < pod.Containers {
			return status{markProgressing, word}
		}
		return status{markOK, word}
	case "Completed", "Succeeded":
		return status{markOK, word}
	case "Pending", "SchedulingGated":
		return status{markWaiting, word}
	case "ContainerCreating", "PodInitializing", "Terminating", "NotReady":
		return status{markProgressing, word}
	case "Unknown", "":
		return status{markUnknown, word}
	}
	cause := strings.TrimPrefix(word, "Init:")
	switch {
	case strings.HasPrefix(cause, "ErrImage"), strings.HasPrefix(cause, "ImagePull"), cause == "InvalidImageName":
		return status{markWarning, word}
	case strings.Contains(cause, "/"):
		return status{markProgressing, word}
	}
	return status{markBad, word}
}

// replicaSetStatus puts a mark in front of the word for a ReplicaSet.
func replicaSetStatus(rs *v1alpha1.TreeReplicaSet) status {
	marks := map[string]mark{
		"Healthy":        markOK,
		"Progressing":    markProgressing,
		"ScaledDown":     markScaledDown,
		"ReplicaFailure": markWarning,
	}
	if m, known := marks[rs.Status]; known {
		return status{m, rs.Status}
	}
	return status{markUnknown, rs.Status}
}
