// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// eventSource is the component that events about calls of verbs come from.
const eventSource = "sluice-apiserver"

// NewVerbEvents returns a function that tells of each verb that was performed, who did it and why, as an Event
// in the host cluster. It does not block; what cannot be written is dropped, since status.actions has it too.
func NewVerbEvents(ctx context.Context, host kubernetes.Interface) func(*rollouts.Rollout, *rollouts.RolloutAction) {
	// Every call is to be seen: with its user and time none is a repetition of another.
	broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize: 50,
		QPS:       1,
		MaxEvents: 50,
		KeyFunc: func(event *corev1.Event) (string, string) {
			return string(event.InvolvedObject.UID) + event.Reason, event.Message
		},
		SpamKeyFunc: func(event *corev1.Event) string { return string(event.InvolvedObject.UID) },
	}))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: host.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: eventSource})
	return func(rollout *rollouts.Rollout, action *rollouts.RolloutAction) {
		kind, reason, message := eventOf(action)
		recorder.Event(&corev1.ObjectReference{
			APIVersion: v1alpha1.SchemeGroupVersion.String(),
			Kind:       "Rollout",
			Namespace:  rollout.Namespace,
			Name:       rollout.Name,
			UID:        rollout.UID,
		}, kind, reason, message)
	}
}

// verbReasons are the reasons of the events of verbs. That of a pause differs from that of a pause step.
var verbReasons = map[string]string{
	"promote": "RolloutPromoted",
	"abort":   "RolloutAborted",
	"retry":   "RolloutRetried",
	"pause":   "RolloutManuallyPaused",
	"resume":  "RolloutResumed",
	"restart": "RolloutRestarting",
	"undo":    "RolloutUndone",
}

// eventOf is the Event that tells of an action.
func eventOf(action *rollouts.RolloutAction) (kind, reason, message string) {
	kind, reason = corev1.EventTypeNormal, verbReasons[action.Verb]
	switch {
	case action.Outcome == rollouts.ActionApproved:
		reason = "RolloutApproved"
	case action.Verb == "abort", action.Outcome == rollouts.ActionOverridden:
		kind = corev1.EventTypeWarning
	}
	message = fmt.Sprintf("User %q %s", action.User, action.Message)
	if action.Impersonator != "" {
		message = fmt.Sprintf("User %q, as %q, %s", action.Impersonator, action.User, action.Message)
	}
	if action.Reason != "" {
		message += ": " + action.Reason
	}
	return kind, reason, message
}
