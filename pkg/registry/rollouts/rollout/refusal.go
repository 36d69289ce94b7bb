// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

const (
	// reasonBeingDeleted: a Rollout that is being deleted is asked for nothing any more.
	reasonBeingDeleted = "BeingDeleted"
	// causePreconditionFailed: the Rollout is not what the caller expects.
	causePreconditionFailed metav1.CauseType = "PreconditionFailed"
)

// unmet is 409 with a cause for each expectation that does not hold; nil if all do.
func (c *call) unmet(current *rollouts.Rollout) error {
	var causes []metav1.StatusCause
	if uid := c.body.GetUID(); uid != "" && uid != current.UID {
		causes = append(causes, metav1.StatusCause{Field: "metadata.uid", Message: fmt.Sprintf("the uid is %s, not %s", current.UID, uid)})
	}
	if version := c.body.GetResourceVersion(); version != "" && version != current.ResourceVersion {
		causes = append(causes, metav1.StatusCause{Field: "metadata.resourceVersion", Message: fmt.Sprintf("the resourceVersion is %s, not %s", current.ResourceVersion, version)})
	}
	for _, mismatch := range engine.Unmet(current, &c.body.Request().Expect) {
		causes = append(causes, metav1.StatusCause{Field: mismatch.Field, Message: mismatch.Message})
	}
	if len(causes) == 0 {
		return nil
	}
	return c.conflict(current, causes...)
}

// conflict is 409: the Rollout is not what the caller expects.
func (c *call) conflict(current *rollouts.Rollout, causes ...metav1.StatusCause) error {
	messages := make([]string, 0, len(causes))
	for i := range causes {
		causes[i].Type = causePreconditionFailed
		messages = append(messages, causes[i].Message)
	}
	err := apierrors.NewConflict(rollouts.Resource("rollouts/"+c.verb.name), current.Name, errors.New(strings.Join(messages, "; ")))
	err.ErrStatus.Details.UID = current.UID
	err.ErrStatus.Details.Causes = causes
	return err
}

// overtaken is 409: somebody else was quicker.
func (c *call) overtaken(current *rollouts.Rollout) error {
	return c.conflict(current, metav1.StatusCause{Message: "the rollout was changed at the same time: look at it and try again"})
}

func (c *call) refusedOrNil(current *rollouts.Rollout, err error) error {
	if err == nil {
		return nil
	}
	return c.refused(current, err)
}

// refused turns the engine's answer into 409 or 403, with its reason as the machine-readable cause.
func (c *call) refused(current *rollouts.Rollout, err error) error {
	var refusal *engine.Refusal
	var forbidden *engine.Forbidden
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		return err
	case errors.As(err, &forbidden):
		return forbiddenTo(current.Name, c.actor.Name, forbidden.Reason, "", forbidden.Message, forbidden.Missing)
	case !errors.As(err, &refusal):
		return apierrors.NewInternalError(err)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusConflict,
		Reason:  metav1.StatusReasonConflict,
		Message: fmt.Sprintf("cannot %s rollout %q: %s", c.verb.name, current.Name, refusal.Message),
		Details: &metav1.StatusDetails{
			Group:             rollouts.GroupName,
			Kind:              "rollouts",
			Name:              current.Name,
			UID:               current.UID,
			RetryAfterSeconds: int32(math.Ceil(refusal.RetryAfter.Seconds())),
			Causes:            []metav1.StatusCause{{Type: metav1.CauseType(refusal.Reason), Message: refusal.Message}},
		},
	}}
}

// forbiddenTo is 403. It names the right that would help, if one would.
func forbiddenTo(name, user, reason, field, message string, missing *engine.Right) error {
	if missing != nil {
		resource := "rollouts"
		if missing.Subresource != "" {
			resource += "/" + missing.Subresource
		}
		message += fmt.Sprintf("; user %q cannot %s resource %q in API group %q", user, missing.Verb, resource, rollouts.GroupName)
	}
	err := apierrors.NewForbidden(rollouts.Resource("rollouts"), name, errors.New(message))
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseType(reason), Field: field, Message: message}}
	return err
}
