// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// Observer shows a Rollout as the controller sees it.
type Observer interface {
	// Observe is a Rollout with the ReplicaSets, pods and Services that the caches show of it. It fails while these
	// are not warm.
	Observe(ctx context.Context, rollout *rollouts.Rollout) (engine.Snapshot, error)
	// ControllerState says whether any replica of the server acts on Rollouts.
	ControllerState(ctx context.Context) engine.ControllerState
}

// observe is a Rollout as the controller sees it; the error is 503 while that is not known.
func (c *Config) observe(ctx context.Context, rollout *rollouts.Rollout) (engine.Snapshot, error) {
	if c.Observer == nil {
		return engine.Snapshot{}, unavailable("this server has no controller")
	}
	snapshot, err := c.Observer.Observe(ctx, rollout)
	if err != nil {
		return engine.Snapshot{}, unavailable(err.Error())
	}
	return snapshot, nil
}

// unavailable is 503, to be asked again in a second.
func unavailable(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusServiceUnavailable,
		Reason:  metav1.StatusReasonServiceUnavailable,
		Message: message,
		Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	}}
}

// identify puts the identity of a Rollout into what is told of it.
func identify(meta *metav1.ObjectMeta, rollout *rollouts.Rollout) {
	*meta = metav1.ObjectMeta{
		Name:              rollout.Name,
		Namespace:         rollout.Namespace,
		UID:               rollout.UID,
		ResourceVersion:   rollout.ResourceVersion,
		CreationTimestamp: rollout.CreationTimestamp,
	}
}
